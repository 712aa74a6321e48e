# Without a GPU:   docker build -t fsseg-bench .
# With CUDA 13:    docker build -t fsseg-bench --build-arg TORCH=cu130 .
# To use it, see docs/howto/containers.md.
FROM python:3.12-slim

# Which wheels of torch: cpu, or a CUDA of https://pytorch.org/get-started (cu126, cu128, cu130)
ARG TORCH=cpu

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONUNBUFFERED=1
RUN python -m venv /opt/fsseg
ENV PATH="/opt/fsseg/bin:$PATH"

# The large wheels first: a change of the sources does not fetch them again
RUN pip install --index-url "https://download.pytorch.org/whl/${TORCH}" "torch>=2.11" "torchvision>=0.26"
COPY . /opt/source
RUN pip install "/opt/source[plots,superpixels]"

# Any user may run it (docker run --user "$(id -u)"), with or without an entry in passwd and a home
RUN useradd --create-home fsseg \
    && mkdir -p /cache /data /work \
    && chmod 1777 /cache /work
ENV FSSEG_CACHE=/cache \
    FSSEG_DATA=/data \
    MPLCONFIGDIR=/tmp/matplotlib
VOLUME ["/cache", "/data"]
USER fsseg
WORKDIR /work
ENTRYPOINT ["fsseg-bench"]
CMD ["--help"]
