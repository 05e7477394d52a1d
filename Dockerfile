# CPU (default):  docker build -t maskgym .
# CUDA:           docker build -t maskgym:cuda --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu126 .
# A command:      docker run --rm -v "$PWD/runs:/home/maskgym/runs" maskgym demo --out runs/demo
FROM python:3.11-slim-bookworm

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1 MPLBACKEND=Agg

RUN useradd --create-home --uid 1000 maskgym
WORKDIR /opt/maskgym
COPY constraints.txt ./
RUN pip install --index-url "$TORCH_INDEX" "$(grep '^torch==' constraints.txt)"
COPY . .
RUN pip install -c constraints.txt ".[view,pettingzoo]"

USER 1000
WORKDIR /home/maskgym
ENTRYPOINT ["maskgym"]
CMD ["--help"]
