# A server in a container, from wheels alone, run by a user without rights. It listens to all of the container's addresses
# without TLS and asks nobody who they are, so publish the port only where everybody who reaches it may read and write:
#   docker build -t measurand . && docker run -p 127.0.0.1:50051:50051 -v measurements:/data measurand
# Other commands: docker run measurand doctor --help. Every setting has a variable: see docs/measurand.toml.
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
WORKDIR /source
# --without-pip: nothing in the image can install anything.
RUN python -m venv --without-pip /opt/measurand
COPY pyproject.toml README.md LICENSE ./
COPY generated generated
COPY services services
COPY client client
# By its path, so that no index is asked for a package of our name.
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
    && pip --python /opt/measurand/bin/python install --no-cache-dir --only-binary :all: \
    "$(echo /wheels/measurand-*.whl)[fleet,tracing]"

FROM python:${PYTHON}-slim
LABEL org.opencontainers.image.title="measurand" org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 measurand \
    && useradd --uid 10001 --gid measurand --no-create-home --home-dir /data --shell /usr/sbin/nologin measurand \
    && install --directory --owner=measurand --group=measurand --mode=0700 /data
COPY --from=build /opt/measurand /opt/measurand
ENV PATH=/opt/measurand/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    MEASURAND_DATA=/data \
    MEASURAND_LISTEN=0.0.0.0:50051 \
    MEASURAND_HTTP=0.0.0.0:8051 \
    MEASURAND_INSECURE=true
# A number, so that Kubernetes can see that it is not root.
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 50051 8051
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s --start-interval=1s \
    CMD ["python", "-m", "measurand.server.health_probe", "127.0.0.1:50051"]
ENTRYPOINT ["measurand"]
CMD ["serve"]
