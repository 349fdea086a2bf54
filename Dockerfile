FROM python:3.13-slim AS build
WORKDIR /src
# No pip in the environment: the build's own installs into it.
RUN python -m venv --without-pip /opt/wavepress
COPY requirements.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/wavepress/bin/python install --requirement requirements.txt
COPY setup.py pyproject.toml README.md ./
COPY sql ./sql
COPY service ./service
RUN --mount=type=cache,target=/root/.cache/pip \
    pip wheel --no-deps --wheel-dir /wheels . && pip --python /opt/wavepress/bin/python install --no-deps /wheels/*.whl

FROM python:3.13-slim
LABEL org.opencontainers.image.title="wavepress" \
      org.opencontainers.image.description="Streams WAV uploads through ffmpeg and keeps the MP3s" \
      org.opencontainers.image.licenses="MIT AND GPL-3.0-or-later"
# tini forwards signals and reaps what a killed worker leaves; yoyo asks for the user's name, so there must be one.
RUN apt-get update && apt-get install --yes --no-install-recommends tini && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /data --no-create-home wavepress \
    && install --directory --owner wavepress --group wavepress /data
COPY LICENSE NOTICE /usr/share/doc/wavepress/
COPY --from=build /opt/wavepress /opt/wavepress
ENV PATH=/opt/wavepress/bin:$PATH PYTHONUNBUFFERED=1 WAVEPRESS_HOST=0.0.0.0 WAVEPRESS_DATA_DIR=/data
USER wavepress
WORKDIR /data
VOLUME /data
EXPOSE 8001
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s CMD \
    ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ.get('WAVEPRESS_PORT', 8001)}/health/live\", timeout=2)"]
ENTRYPOINT ["tini", "--", "wavepress"]
CMD ["serve"]
