# One image for the API, the workers, the scheduler and the migrations: see docker-compose.yml.
FROM python:3.13-slim

ENV PYTHONUNBUFFERED=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /app

# The locked requirements alone, so that a change of the sources keeps this layer. No embedded servers, no test tools.
COPY requirements-build.lock requirements-runtime.lock ./
RUN pip install --require-hashes -r requirements-build.lock \
    && pip install --require-hashes --no-build-isolation -r requirements-runtime.lock

COPY . .
RUN pip install --no-deps --no-build-isolation . \
    && useradd --system --no-create-home --shell /usr/sbin/nologin holdfast

USER holdfast
EXPOSE 8000
STOPSIGNAL SIGTERM
CMD ["python", "-m", "api"]
