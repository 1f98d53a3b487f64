"""CallRail's own notifications of calls and texts."""

from __future__ import annotations

from typing import Any, Literal, Unpack

from callrail.model import Deleted, Flag, Id, Model, Text
from callrail.operation import UNSET, ListOptions, Resource, WriteOptions, listing, operation
from callrail.paging import Listing
from callrail.request import Danger

AlertType = Literal["all", "first_call", "missed_and_vm", "vm_only"]


class Notification(Model):
    """A notification. Lists leave out the agent and the names."""

    id: Id = ""
    user_id: Text = None
    email: Text = None
    agent_id: Text = None
    agent_name: Text = None
    alert_type: Text = None
    call_enabled: Flag = None
    sms_enabled: Flag = None
    company_id: Text = None
    company_name: Text = None
    tracker_id: Text = None
    tracker_name: Text = None
    name: Text = None
    send_desktop: Flag = None
    send_email: Flag = None
    send_push: Flag = None


def _of_some_calls(call_enabled: Any, alert_type: Any) -> str | None:
    wrong = call_enabled is True and alert_type is UNSET
    return "call_enabled needs alert_type: of which calls" if wrong else None


class Notifications(Resource, named="notifications"):
    """Whom CallRail itself tells of calls and texts."""

    @listing("notifications.json", "notifications")
    def list(
        self,
        *,
        notification_type: Literal["send_desktop", "send_email", "send_push"] | None = None,
        user_id: str | None = None,
        email: str | None = None,
        **options: Unpack[ListOptions],
    ) -> Listing[Notification]:
        """List notifications.

        Args:
            notification_type: Only those of this way.
            user_id: Only those of this user, ``USR...``.
            email: Only those to this address.
        """

    @operation("POST", "notifications.json", rules=[_of_some_calls])
    async def create(
        self,
        *,
        user_id: str = UNSET,
        email: str = UNSET,
        agent_id: str = UNSET,
        company_id: str = UNSET,
        tracker_id: str = UNSET,
        call_enabled: bool = UNSET,
        alert_type: AlertType = UNSET,
        sms_enabled: bool = UNSET,
        send_desktop: bool = UNSET,
        send_email: bool = UNSET,
        send_push: bool = UNSET,
        **options: Unpack[WriteOptions],
    ) -> Notification:
        """Create a notification, for the key's own user unless told otherwise.

        Args:
            user_id: User to be told, ``USR...``.
            email: Address to be told instead. One that is no user's needs ``company_id`` or ``tracker_id``, and takes
                ``send_email`` alone.
            agent_id: Only calls of this user.
            company_id: Only calls of this company.
            tracker_id: Only calls of this tracker.
            call_enabled: Tell of calls; then ``alert_type`` is required.
            alert_type: Of which calls.
            sms_enabled: Tell of texts.
            send_desktop: Tell on the desktop.
            send_email: Tell by e-mail.
            send_push: Tell on the telephone.

        Raises:
            Forbidden: The key's user may not.
        """

    @operation("PUT", "notifications/{notification_id}.json")
    async def update(
        self,
        notification_id: str,
        *,
        company_id: str | None = UNSET,
        tracker_id: str | None = UNSET,
        call_enabled: bool = UNSET,
        alert_type: AlertType | None = UNSET,
        sms_enabled: bool = UNSET,
        send_desktop: bool = UNSET,
        send_email: bool = UNSET,
        send_push: bool = UNSET,
        **options: Unpack[WriteOptions],
    ) -> Notification:
        """Change a notification.

        Args:
            notification_id: Number of the notification.
            company_id: Only calls of this company.
            tracker_id: Only calls of this tracker.
            call_enabled: Tell of calls.
            alert_type: Of which calls.
            sms_enabled: Tell of texts.
            send_desktop: Tell on the desktop.
            send_email: Tell by e-mail.
            send_push: Tell on the telephone.
        """

    @operation("DELETE", "notifications/{notification_id}.json", dangers=[Danger.DELETES])
    async def delete(self, notification_id: str, **options: Unpack[WriteOptions]) -> Deleted:
        """Delete a notification.

        Args:
            notification_id: Number of the notification.

        Raises:
            Forbidden: It belongs to somebody else.
        """
