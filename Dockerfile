# A server in a container. It listens to all of the container's addresses without TLS, so publish the port only where
# everybody who reaches it may read and write:
#   docker build -t measurand . && docker run -p 127.0.0.1:50051:50051 -v measurements:/data measurand
FROM python:3.11-slim AS build
COPY . /source
RUN pip install --no-cache-dir --prefix=/installed "/source[server]"

FROM python:3.11-slim
COPY --from=build /installed /usr/local
RUN useradd --create-home measurand && mkdir /data && chown measurand /data
USER measurand
VOLUME /data
EXPOSE 50051 8051
STOPSIGNAL SIGTERM
ENTRYPOINT ["measurand", "serve", "--data", "/data"]
CMD ["--listen", "0.0.0.0:50051", "--http", "0.0.0.0:8051", "--insecure"]
