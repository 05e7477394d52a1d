import threading

import gymnasium as gym
import pytest
import uvicorn

from maskgym.view.server import bind, make_app
from maskgym.view.session import Session


@pytest.fixture(scope="session")
def session():
    def volumes(ratio):
        return gym.make("maskgym:MaskMIM3D-v0", split="test", ratio=ratio)

    def small(ratio):
        return gym.make("maskgym:MaskMIMSmall-v0", split="test", ratio=ratio)

    return Session({"small": small, "volumes": volumes})


@pytest.fixture(scope="session")
def port(session):
    """The port of a server that runs while the tests do."""
    with bind(0) as place:
        config = uvicorn.Config(make_app(session), log_level="warning", lifespan="off", ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [place]}, daemon=True)
        thread.start()
        yield place.getsockname()[1]
        server.should_exit = True
        thread.join(10)
