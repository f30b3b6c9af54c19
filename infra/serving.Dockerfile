# The prediction server: onnxruntime, numpy and BentoML, no training framework.
#   docker build -f infra/serving.Dockerfile -t tideline-serving .
# The registry lies in a volume at /srv/tideline; the log in PostgreSQL (TIDELINE_STORE_URL).
FROM python:3.11.14-slim-bookworm AS packages
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
COPY requirements-serving.lock /tmp/requirements.lock
RUN /opt/venv/bin/pip install --no-deps -r /tmp/requirements.lock

FROM python:3.11.14-slim-bookworm
RUN groupadd --gid 10001 tideline \
 && useradd --uid 10001 --gid 10001 --home-dir /srv/tideline --create-home --shell /usr/sbin/nologin tideline
COPY --from=packages /opt/venv /opt/venv
COPY serving /opt/tideline/serving
COPY src/tideline /opt/tideline/src/tideline
# TIDELINE_SERVING_HOST: a container is reached from outside of its own loopback. Such requests need an API key
# (`tideline keys add`), unless TIDELINE_SERVING_OPEN is on.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/tideline:/opt/tideline/src \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DO_NOT_TRACK=1 \
    BENTOML_DO_NOT_TRACK=True \
    BENTOML_HOME=/tmp/bentoml \
    TIDELINE_HOME=/srv/tideline \
    TIDELINE_SERVING_HOST=0.0.0.0 \
    TIDELINE_SERVING_PORT=3000
WORKDIR /srv/tideline
USER 10001:10001
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:3000/livez', timeout=4)"]
ENTRYPOINT ["python", "-m", "serving"]
