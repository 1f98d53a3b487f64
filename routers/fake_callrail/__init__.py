"""CallRail's API without CallRail: a small world behind a loopback server, for trying rules and for the tests.

It is written from what is documented and was seen of the real one, not from our client: the two check each other.
Where neither documents nor observations tell, it does the likelier thing and says so (assumed).

`world` holds what there is, `growing` makes a small one; `app` takes a request, checks the key, the limits and the
faults that were ordered, and gives it to the resource's module, which reads or changes the world.
"""

from routers.fake_callrail.app import FakeCallRail
from routers.fake_callrail.growing import small_world
from routers.fake_callrail.limits import Limits
from routers.fake_callrail.quirks import Quirks
from routers.fake_callrail.world import World

__all__ = ["FakeCallRail", "Limits", "Quirks", "World", "small_world"]
