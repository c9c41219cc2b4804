# Three images of one repository: `broker`, `consumer` and `emulator` (docker build --target …).
#
# Each is Python, one virtual environment and nothing else: no compiler, no pip, no shell script. Packages come as wheels
# from lock files that pin their hashes (deploy/locks, made by `make lock`). Everything runs as user 10001 on a root file
# system that may be read-only; what is written goes to /tmp, /data (emulator) or /spool (consumer).

FROM python:3.12-slim AS python
ENV PATH=/app/bin:$PATH \
    PYTHONUNBUFFERED=1
WORKDIR /work

# --- building: never part of an image -------------------------------------------------------------------------------

FROM python AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
COPY deploy/locks deploy/locks

FROM builder AS wheel
RUN pip install --require-hashes --only-binary :all: -r deploy/locks/build.lock
COPY pyproject.toml README.md LICENSE ./
COPY broker broker
COPY consumer consumer
COPY uploader uploader
COPY emulators emulators
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels .

# The packages of others first: they change less often than ours.
FROM builder AS server-environment
RUN python -m venv --without-pip /app \
 && pip --python /app/bin/python install --require-hashes --only-binary :all: -r deploy/locks/server.lock
COPY --from=wheel /wheels /wheels
RUN pip --python /app/bin/python install --no-deps --no-index /wheels/*.whl

# No litestar, no redis, no cloud SDK: what parses hostile bytes cannot use what is not there.
FROM builder AS bare-environment
RUN python -m venv --without-pip /app \
 && pip --python /app/bin/python install --require-hashes --only-binary :all: -r deploy/locks/bare.lock
COPY --from=wheel /wheels /wheels
RUN pip --python /app/bin/python install --no-deps --no-index /wheels/*.whl

# --- the images -----------------------------------------------------------------------------------------------------

FROM python AS broker
COPY --from=server-environment /app /app
USER 10001:10001
EXPOSE 8080
ENTRYPOINT ["upload-broker"]
CMD ["serve"]

FROM python AS consumer
COPY --from=bare-environment /app /app
RUN install -d -o 10001 -g 10001 -m 700 /spool
USER 10001:10001
ENTRYPOINT ["upload-consumer"]
CMD ["run"]

FROM python AS emulator
COPY --from=bare-environment /app /app
RUN install -d -o 10001 -g 10001 -m 700 /data
USER 10001:10001
EXPOSE 9000
ENTRYPOINT ["python", "-m", "emulators"]
CMD ["s3", "--listen", "0.0.0.0:9000", "--data", "/data"]
