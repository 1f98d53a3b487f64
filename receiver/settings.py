"""What a process is told by its environment: the same names as the options of `serve`, in capitals."""

from __future__ import annotations

from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """`CALLRAIL_ROUTER_CONFIG`, `CALLRAIL_ROUTER_DATABASE_URL` and so on; an option of the command line beats them."""

    model_config = SettingsConfigDict(env_prefix="CALLRAIL_ROUTER_", frozen=True)

    config: Path = Path("router.yaml")
    database_url: str = "sqlite:///callrail-router.db"
    host: str = "127.0.0.1"
    port: int = 8080
    role: str = "all"
