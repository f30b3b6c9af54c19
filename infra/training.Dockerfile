# Everything but the server: the graph, the flows, Prefect, the monitor, Evidently.
#   docker build -f infra/training.Dockerfile -t tideline-training .
# The project lies in a volume at /srv/tideline, into which the entrypoint lays this image's code: data, registry and
# dvc.lock stay there when the image changes.
FROM python:3.11.14-slim-bookworm AS packages
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
COPY requirements.lock /tmp/requirements.lock
RUN /opt/venv/bin/pip install --no-deps -r /tmp/requirements.lock

FROM python:3.11.14-slim-bookworm
# libgomp: LightGBM and scikit-learn.
RUN apt-get update \
 && apt-get install -y --no-install-recommends libgomp1 \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 tideline \
 && useradd --uid 10001 --gid 10001 --home-dir /srv/tideline --create-home --shell /usr/sbin/nologin tideline
COPY --from=packages /opt/venv /opt/venv
COPY dvc.yaml params.yaml pyproject.toml README.md .dvcignore /opt/tideline/
COPY .dvc/config /opt/tideline/.dvc/config
COPY src /opt/tideline/src
COPY serving /opt/tideline/serving
COPY pipelines /opt/tideline/pipelines
COPY infra/training-entrypoint.sh /usr/local/bin/tideline-entrypoint
# `tideline`, the command of dvc.yaml's stages, with the code of the volume. No git repository there: DVC is told so.
RUN chmod 755 /usr/local/bin/tideline-entrypoint \
 && printf '#!/bin/sh\nexec python -m tideline.cli "$@"\n' > /usr/local/bin/tideline \
 && chmod 755 /usr/local/bin/tideline \
 && printf '[core]\n    no_scm = true\n' > /opt/tideline/.dvc/config.local \
 && cd /opt/tideline && find . -type f -exec sha256sum {} + | sort | sha256sum > /tmp/image && mv /tmp/image .image
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/srv/tideline:/srv/tideline/src \
    PYTHONUNBUFFERED=1 \
    HOME=/srv/tideline \
    DO_NOT_TRACK=1 \
    DVC_NO_ANALYTICS=1 \
    BENTOML_DO_NOT_TRACK=True \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    PREFECT_HOME=/srv/tideline/.tideline/prefect \
    TF_CPP_MIN_LOG_LEVEL=3
WORKDIR /srv/tideline
USER 10001:10001
STOPSIGNAL SIGTERM
# What runs in it differs by command; each service of compose.yaml has a check of its own.
HEALTHCHECK --interval=60s --timeout=20s --start-period=60s --retries=3 CMD ["python", "-c", "import tideline.cli"]
ENTRYPOINT ["tideline-entrypoint"]
CMD ["python", "-m", "pipelines.deployments"]
