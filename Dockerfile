# One image, three commands: python -m storage_sim serve | python -m pipeline worker | python -m api serve
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
RUN python3 -m venv /opt/venv
WORKDIR /src
COPY pyproject.toml README.md LICENSE /src/
# The dependencies first: a layer that changes only with pyproject.toml.
RUN python3 -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > /requirements.txt \
 && /opt/venv/bin/pip install --no-cache-dir -r /requirements.txt
COPY schemas /src/schemas
COPY storage_sim /src/storage_sim
COPY pipeline /src/pipeline
COPY api /src/api
COPY deploy /src/deploy
COPY benchmarks /src/benchmarks
RUN /opt/venv/bin/pip install --no-cache-dir --no-deps /src

FROM ${BASE}
RUN useradd --system --uid 10001 --home-dir /var/lib/storage-events storage-events \
 && mkdir -p /var/lib/storage-events/storage /var/lib/storage-events/keys \
 && chown -R storage-events: /var/lib/storage-events \
 && chmod -R 700 /var/lib/storage-events
COPY --from=build /opt/venv /opt/venv
COPY deploy/compose/entrypoint.sh /usr/local/bin/entrypoint
COPY deploy/demo /etc/storage-events
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1
WORKDIR /var/lib/storage-events
USER storage-events
ENTRYPOINT ["entrypoint"]
CMD ["python", "-m", "api", "serve"]
