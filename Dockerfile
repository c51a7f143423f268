# The worker and the command line. `docker compose up --build` makes it; see docs/how-to/run-with-docker.md.

FROM python:3.12-slim-bookworm AS build
ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_PROJECT_ENVIRONMENT=/opt/annals \
    UV_PYTHON_DOWNLOADS=never
RUN pip install --no-cache-dir --disable-pip-version-check uv==0.13.8
WORKDIR /src
# The dependencies first: they change seldom, and this layer is most of the image.
COPY pyproject.toml uv.lock ./
# The extras: filters in CEL, and questions in SQL.
RUN uv sync --frozen --no-dev --extra query --extra subscribers --no-install-project
COPY README.md LICENSE ./
COPY src src
COPY schemas schemas
COPY topics topics
COPY agents agents
COPY workers workers
RUN uv sync --frozen --no-dev --extra query --extra subscribers --no-editable

FROM python:3.12-slim-bookworm
# A number of its own, so that a volume's files have the same owner on every machine.
RUN useradd --uid 10001 --create-home annals && install -d -o annals -g annals /var/lib/annals
COPY --from=build /opt/annals /opt/annals
# Inside a container loopback would be reachable by nobody; who may reach the port is the network's matter.
ENV PATH=/opt/annals/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    ANNALS_DATA_DIR=/var/lib/annals \
    ANNALS_WEB_HOST=0.0.0.0
# By number: Kubernetes' runAsNonRoot can tell that it is not root.
USER 10001
WORKDIR /home/annals
VOLUME /var/lib/annals
EXPOSE 6066
EXPOSE 6067
STOPSIGNAL SIGTERM
# A slim image has no curl; urlopen raises, and so exits 1, on anything but 200.
HEALTHCHECK --interval=5s --timeout=4s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:6066/health/ready', timeout=3)"]
ENTRYPOINT ["annals"]
CMD ["worker"]
