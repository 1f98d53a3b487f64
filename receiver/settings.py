"""What the receiver alone is told by its environment; `callrail-router serve` takes the same names, and options."""

from __future__ import annotations

from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """`CALLRAIL_ROUTER_CONFIG`, `CALLRAIL_ROUTER_DATABASE_URL` and `CALLRAIL_ROUTER_SPOOL`."""

    model_config = SettingsConfigDict(env_prefix="CALLRAIL_ROUTER_", frozen=True)

    config: Path = Path("router.yaml")
    database_url: str = "sqlite:///callrail-router.db"
    spool: Path = Path("callrail-router-spool")
