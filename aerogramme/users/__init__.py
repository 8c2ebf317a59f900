"""Who may log in or receive, and where their account is: one interface, and its drivers."""

from aerogramme.users.directory import Directory, Recipient, User
from aerogramme.users.static import StaticDirectory

__all__ = ["Directory", "Recipient", "StaticDirectory", "User"]
