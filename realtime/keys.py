"""What the web application carries, by typed key."""

from aiohttp import web

from realtime.config import Settings
from realtime.roster import Roster

ROSTER = web.AppKey("roster", Roster)
SETTINGS = web.AppKey("settings", Settings)
