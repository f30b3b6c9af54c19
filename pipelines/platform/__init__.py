"""The platform on one machine: Prefect, deployments, prediction services, Evidently, and a page that shows them."""
