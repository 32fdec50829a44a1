"""From one era to the other: ``down``, from callers of 2026-07-28 to older servers, and ``up``, from older
sessions to servers of 2026-07-28.
"""
