# Lookalike for machines without a GPU. Build it from the top of the repository:
#   docker build --file docker/cpu.Dockerfile --tag lookalike:cpu .

FROM python:3.11.15-slim-bookworm AS builder
# The index of torch's CPU build; on PyPI the same version brings gigabytes of CUDA libraries.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# Torch has a layer of its own, which changes only with the constraints. The environment has no pip: nothing can be
# installed into a running container.
COPY constraints.txt ./
RUN python -m venv --without-pip /opt/lookalike \
    && pip --python /opt/lookalike/bin/python install --no-deps --constraint constraints.txt \
        --index-url "${TORCH_INDEX}" torch torchvision
COPY LICENSE README.md pyproject.toml lookalike.py ./
COPY api api
COPY indexer indexer
COPY migrations migrations
COPY search search
RUN pip install --constraint constraints.txt setuptools \
    && pip wheel --no-build-isolation --no-deps --wheel-dir /wheels . \
    && wheel="$(echo /wheels/lookalike-*.whl)" \
    && pip --python /opt/lookalike/bin/python install --constraint constraints.txt "${wheel}[postgres]"

FROM python:3.11.15-slim-bookworm
ARG UID=10001
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Lookalike" \
      org.opencontainers.image.description="Index image collections, search them by picture, report duplicates" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="docker.io/library/python:3.11.15-slim-bookworm"
# /data holds the store, /cache the weights that came from the hub.
RUN groupadd --gid "${UID}" lookalike \
    && useradd --uid "${UID}" --gid "${UID}" --no-create-home --home-dir /cache --shell /usr/sbin/nologin lookalike \
    && install --directory --owner "${UID}" --group "${UID}" /data /cache
COPY --from=builder /opt/lookalike /opt/lookalike
ENV PATH="/opt/lookalike/bin:${PATH}" \
    PYTHONUNBUFFERED=1 \
    LOOKALIKE_STORE=/data \
    HF_HOME=/cache/huggingface
USER ${UID}:${UID}
VOLUME /data
EXPOSE 8080
# Ctrl-C's signal: the server finishes its requests, an indexing run stops where it can be resumed.
STOPSIGNAL SIGINT
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import http.client, os, sys; probe = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('LOOKALIKE_PORT', '8080')), timeout=4); probe.request('GET', '/healthz'); sys.exit(probe.getresponse().status != 200)"]
ENTRYPOINT ["lookalike"]
CMD ["--help"]
