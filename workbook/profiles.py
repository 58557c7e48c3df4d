"""The three profiles a notebook runs at (see the README's table)."""

PROFILES = ("quick", "public", "gpu")


def check_profile(profile: str) -> str:
    """Return ``profile`` if it is one of `PROFILES`; raise `ValueError` naming the choices otherwise."""
    if profile not in PROFILES:
        raise ValueError(f"unknown profile {profile!r}: expected one of {', '.join(map(repr, PROFILES))}")
    return profile
