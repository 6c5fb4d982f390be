# Meterhall: server, simulators and the one-shot services of docker-compose.yml, in one image.
FROM python:3.11.14-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv --without-pip /opt/meterhall
WORKDIR /src
COPY . .
RUN pip --python /opt/meterhall/bin/python install --constraint constraints.txt ".[postgresql]" \
    && sh docker/thin.sh /opt/meterhall

FROM python:3.11.14-slim-bookworm
LABEL org.opencontainers.image.title="Meterhall" org.opencontainers.image.licenses="Apache-2.0"
# One user for each service, and the folder where its volume goes: a new volume takes over whose it is.
RUN for row in server:10001 simulators:10002; do \
      name=${row%%:*}; id=${row##*:}; \
      groupadd --gid "$id" "$name" && useradd --uid "$id" --gid "$id" --no-create-home --shell /usr/sbin/nologin "$name" \
      && install -d -m 0700 -o "$name" -g "$name" "/var/lib/meterhall/$name"; \
    done \
    && install -d -m 0755 /etc/meterhall /run/meterhall
COPY --from=build /opt/meterhall /opt/meterhall
ENV PATH=/opt/meterhall/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 OPENBLAS_NUM_THREADS=1
USER 10001:10001
ENTRYPOINT ["meterhall"]
CMD ["--help"]
