# docker build -t callrail-router .
# docker run -p 127.0.0.1:8080:8080 -v callrail-router:/data -v ./router.yaml:/config/router.yaml:ro callrail-router

FROM python:3.13-slim AS builder
WORKDIR /src
COPY . .
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /dist . \
 && python -m venv /app \
 && /app/bin/python -m pip install --no-cache-dir /dist/*.whl

FROM python:3.13-slim
RUN useradd --system --uid 10001 --home-dir /data --create-home callrail-router
COPY --from=builder /app /app
ENV PATH=/app/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    CALLRAIL_ROUTER_CONFIG=/config/router.yaml \
    CALLRAIL_ROUTER_DATABASE_URL=sqlite:////data/callrail-router.db \
    CALLRAIL_ROUTER_SPOOL=/data/spool \
    CALLRAIL_ROUTER_HOST=0.0.0.0 \
    CALLRAIL_ROUTER_PORT=8080
USER callrail-router
WORKDIR /data
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ['CALLRAIL_ROUTER_PORT']}/healthz\", timeout=2)"]
# exec: the server is process 1 and gets docker's SIGTERM itself.
CMD ["sh", "-c", "callrail-router migrate && exec callrail-router serve"]
