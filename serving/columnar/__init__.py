"""Requests and answers of columns: Arrow and CSV, checked as arrays instead of row by row."""
