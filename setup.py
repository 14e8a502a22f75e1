"""What the package is called, what it needs, and the command it installs."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

RUNTIME = [
    "tornado>=6.6.1,<6.7",  # 6.6.1 bounds ping floods; push/ leans on private names checked against 6.6
    "motor>=3.7.1",  # the last release, speaks to the pymongo below
    "pymongo>=4.18.2,<5",  # BSON overflow fixes; motor 3.7 takes no 5
    "PyJWT[crypto]>=2.15.1",  # crit, exp and nesting checks
    "pycurl>=7.45.7",  # for CurlAsyncHTTPClient; PREREQFUNCTION, and a wheel that finds the CA bundle
    "msgspec>=0.21",  # its DecodeError is a ValueError; Struct(gc=False)
    "hiredis>=3.2",  # RESP3, with what is pushed told from replies
    "aiosqlite>=0.22,<0.23",  # its thread is `_thread`, which has to be a daemon
    "prometheus-client>=0.20",  # /metrics
    "argon2-cffi>=23.1",  # RFC 9106 default parameters
    "pillow>=11.0",  # image decoding fixes
    "av>=14.1",  # bundles a libx264; stream dispositions
    "standardwebhooks>=1.1",  # unpadded secrets; needs nothing else
    "rich>=13.7",  # progress bar of the command line
]
TEST = [
    "pytest>=8.3,<10",  # pytest-tornado 0.8 takes no 10
    "pytest-tornado>=0.8.1",
    "pytest-timeout>=2.3",  # a test that hangs fails, with every thread's stack
    "pytest-xdist>=3.6",  # its workers run tests in the main thread
    "setuptools>=70,<82",  # pytest-tornado imports pkg_resources, which 82 no longer has
    "hypothesis>=6.100",
    "websockets>=13.0",  # a WebSocket client that is not ours
    "playwright>=1.50",  # drives Debian's Chromium
    "openai>=2.0",  # an SDK of the /v1/videos format, as a client of the simulator
]
DEV = [
    "mypy>=1.14",
    "ruff>=0.9",
    "import-linter>=2.1",
]

setup(
    name="sora-ws",
    version="0.1.0",
    description="Pushes the progress of AI video tasks over WebSocket, and loses none of them",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["sora_ws", "sora_ws.*"]),
    package_data={"sora_ws": ["py.typed", "web/**/*"]},
    install_requires=RUNTIME,
    extras_require={"test": TEST, "dev": TEST + DEV},
    entry_points={"console_scripts": ["sora-ws = sora_ws.cli:main"]},
)
