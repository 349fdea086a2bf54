# ffmpeg is built for the image's architecture on the builder's own, because emulation would take many times as long.
# Of bookworm, as its sources: what bookworm's gcc 12 makes of LAME takes 8 % less CPU than what gcc 14 does.
FROM --platform=$BUILDPLATFORM python:3.13-slim-bookworm AS ffmpeg
ARG TARGETARCH
RUN apt-get update && apt-get install --yes --no-install-recommends build-essential nasm \
    $(test "$TARGETARCH" = "$(dpkg --print-architecture)" || echo "crossbuild-essential-$TARGETARCH")
# Where the sources come from, if not from where this image's own Debian comes from.
ARG DEBIAN_MIRROR DEBIAN_SECURITY_MIRROR
COPY tools/build-ffmpeg.sh tools/lame.patch tools/wavepress-*.c ./
RUN ./build-ffmpeg.sh /ffmpeg "$TARGETARCH"

FROM python:3.13-slim AS build
WORKDIR /src
# The environment needs no pip, because the build's own pip installs into it.
RUN python -m venv --without-pip /opt/wavepress
COPY requirements.lock ./
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/wavepress/bin/python install --require-hashes --requirement requirements.lock
COPY setup.py pyproject.toml requirements.txt README.md ./
COPY sql ./sql
COPY examples ./examples
COPY service ./service
RUN --mount=type=cache,target=/root/.cache/pip \
    pip wheel --no-deps --wheel-dir /wheels . && pip --python /opt/wavepress/bin/python install --no-deps /wheels/*.whl

FROM python:3.13-slim
LABEL org.opencontainers.image.title="wavepress" \
      org.opencontainers.image.description="Streams WAV uploads through ffmpeg and keeps the MP3s" \
      org.opencontainers.image.licenses="MIT AND LGPL-2.1-or-later AND GPL-1.0-or-later"
# tini forwards signals, and reaps the children that a killed worker leaves behind.
RUN apt-get update && apt-get install --yes --no-install-recommends tini && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 wavepress \
    && useradd --system --uid 10001 --gid 10001 --home-dir /data --no-create-home wavepress \
    && install --directory --owner wavepress --group wavepress /data
COPY LICENSE NOTICE /usr/share/doc/wavepress/
COPY --from=build /opt/wavepress /opt/wavepress
COPY --from=ffmpeg /ffmpeg /opt/wavepress/ffmpeg
ENV PATH=/opt/wavepress/bin:$PATH PYTHONUNBUFFERED=1 WAVEPRESS_HOST=0.0.0.0 WAVEPRESS_DATA_DIR=/data
# Numbers, because Kubernetes' runAsNonRoot refuses names.
USER 10001:10001
# Not a VOLUME: each container without a volume of its own, also one for `migrate`, would leave an anonymous one behind.
WORKDIR /data
EXPOSE 8001
# A plain socket and no site-packages: it runs every five seconds, and urllib takes three times as long.
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --start-interval=1s CMD ["python", "-ISc", "\
import os, socket\n\
s = socket.create_connection(('127.0.0.1', int(os.environ.get('WAVEPRESS_PORT') or 8001)), 2)\n\
s.sendall(b'GET /health/live HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n')\n\
raise SystemExit(b' 200 ' not in s.recv(64))"]
ENTRYPOINT ["tini", "--", "wavepress"]
CMD ["serve"]
