# docker build -t callrail-router .
# docker run -p 127.0.0.1:8080:8080 -v callrail-router:/data -v ./router.yaml:/config/router.yaml:ro callrail-router

FROM python:3.13-slim AS builder
WORKDIR /src
COPY . .
# The environment gets no pip of its own: nothing in the image installs anything.
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /dist . \
 && python -m venv --without-pip /app \
 && python -m pip --python /app/bin/python install --no-cache-dir "$(echo /dist/*.whl)[salesforce]"

FROM python:3.13-slim
LABEL org.opencontainers.image.title="callrail-router" \
      org.opencontainers.image.description="Takes CallRail webhooks in, keeps every one, and tells who must act." \
      org.opencontainers.image.licenses="MIT"
# A number of its own, so that volumes and secrets can be given to it: chown 10001.
RUN groupadd --system --gid 10001 callrail-router \
 && useradd --system --uid 10001 --gid 10001 --home-dir /data --create-home callrail-router
COPY --from=builder /app /app
ENV PATH=/app/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    CALLRAIL_ROUTER_CONFIG=/config/router.yaml \
    CALLRAIL_ROUTER_DATABASE_URL=sqlite:////data/callrail-router.db \
    CALLRAIL_ROUTER_SPOOL=/data/spool \
    CALLRAIL_ROUTER_HOST=0.0.0.0 \
    CALLRAIL_ROUTER_PORT=8080
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ['CALLRAIL_ROUTER_PORT']}/healthz\", timeout=2)"]
# Without a database it starts all the same. exec: the server is process 1 and gets docker's SIGTERM itself.
STOPSIGNAL SIGTERM
CMD ["sh", "-c", "callrail-router migrate; exec callrail-router serve"]
