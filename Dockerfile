# The gateway alone, for use with a PostgreSQL of its own (see docker-compose.yml) or with the embedded one on a volume.
FROM node:24-slim AS pages
WORKDIR /src/frontend
COPY frontend/package.json frontend/package-lock.json frontend/.npmrc ./
RUN npm ci
COPY schema.graphql /src/
COPY app/rest/documents /src/app/rest/documents
COPY docs/queries /src/docs/queries
COPY frontend ./
RUN npm run build

FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements/run.lock requirements/
RUN python -m venv /opt/tokengraph && /opt/tokengraph/bin/pip install --no-cache-dir --require-hashes -r requirements/run.lock
COPY . .
COPY --from=pages /src/app/web/static app/web/static
RUN /opt/tokengraph/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.13-slim
RUN useradd --system --create-home --home-dir /var/lib/tokengraph tokengraph
COPY --from=build /opt/tokengraph /opt/tokengraph
ENV PATH=/opt/tokengraph/bin:$PATH TOKENGRAPH_DATA_DIR=/var/lib/tokengraph/data
USER tokengraph
VOLUME /var/lib/tokengraph
EXPOSE 8000
CMD ["tokengraph", "serve", "--host", "0.0.0.0"]
