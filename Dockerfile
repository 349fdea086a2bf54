# syntax=docker/dockerfile:1
FROM python:3.13-slim AS build
RUN python -m venv /opt/wavepress
WORKDIR /src
COPY requirements.txt ./
RUN --mount=type=cache,target=/root/.cache/pip /opt/wavepress/bin/pip install --requirement requirements.txt
COPY setup.py pyproject.toml README.md ./
COPY sql ./sql
COPY service ./service
RUN --mount=type=cache,target=/root/.cache/pip /opt/wavepress/bin/pip install --no-deps .

FROM python:3.13-slim
# yoyo asks for the user's name, so there must be one.
RUN useradd --system --uid 10001 --no-create-home wavepress && install --directory --owner wavepress /data
COPY --from=build /opt/wavepress /opt/wavepress
ENV PATH=/opt/wavepress/bin:$PATH PYTHONUNBUFFERED=1 WAVEPRESS_HOST=0.0.0.0 WAVEPRESS_DATA_DIR=/data
USER wavepress
VOLUME /data
EXPOSE 8001
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD \
    ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8001/health/live', timeout=2)"]
CMD ["wavepress", "serve"]
