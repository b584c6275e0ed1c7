# syntax=docker/dockerfile:1
# Builds an image with the command anyserve: docker build -t anyserve . See docs/deploy.md.
FROM node:22-slim AS build
WORKDIR /build
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts
COPY . .
RUN npm pack --pack-destination /

FROM node:22-slim
ENV NODE_ENV=production
COPY --from=build /anyserve-*.tgz /tmp/
RUN npm install --global --omit=dev --omit=optional --omit=peer /tmp/anyserve-*.tgz && npm cache clean --force
USER node
# The address of the API server (8080) or of the gateway (8000) inside the container.
ENV ANYSERVE_HOST=0.0.0.0
EXPOSE 8080 8000
# Checks the API server. The gateway has the same path at its port: --health-cmd replaces this command.
HEALTHCHECK --interval=10s --timeout=3s \
  CMD ["node", "-e", "fetch('http://127.0.0.1:8080/livez').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
# Docker stops a container with SIGTERM, which drains. Give it time: docker stop --time 60.
ENTRYPOINT ["anyserve"]
CMD ["serve"]
