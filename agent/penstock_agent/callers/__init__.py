"""Trust level *caller*: the site believes its company's identity provider about a grant, and no relay.

In reading order: ``trust`` (no proof), ``settings``, ``challenge`` (when a consent page was shown), ``proof``
(what the provider signed), ``pinned`` (the provider's keys), ``callers`` (who may call).
"""
