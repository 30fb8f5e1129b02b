"""C2PA manifests of videos (who signed that they made or edited a file), where `pip install c2pa-python` was done."""

import json
import os
from collections.abc import Callable
from typing import Any

from inference.machine_facts import version_of
from runtime.errors import InputError

_LIBRARY = "c2pa-python"  # another project has the name c2pa
# nothing is asked of the internet, whatever a file names
_SETTINGS = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
_LONGEST = 200  # characters of what a manifest says of itself

Tell = Callable[[str], str | None]


def manifest_reader() -> Tell | None:
    """What tells of a video's manifest in a line, or None for one without; itself None where the library is not
    installed. The line says whether the content is what was signed, by whom, and with what. Raises InputError for a
    version that can't be kept from the internet."""
    version = version_of(_LIBRARY)
    if version is None:
        return None
    import c2pa

    if not hasattr(c2pa, "Context"):
        raise InputError(f"C2PA manifests are not read: {_LIBRARY} {version} may ask the internet; install a newer one")
    context = c2pa.Context(settings=c2pa.Settings.from_dict(_SETTINGS))

    def tell(path: str) -> str | None:
        try:
            reader = c2pa.Reader.try_create(os.path.abspath(path), context=context)
            if reader is None:
                return None
            return _line(json.loads(reader.json()), reader.get_validation_state())
        except c2pa.C2paError.NotSupported:  # a container that holds no manifests
            return None
        except (c2pa.C2paError, ValueError, RecursionError) as error:
            return f"its C2PA manifest can't be read ({str(error)[:_LONGEST]})"

    return tell


def _line(store: dict[str, Any], state: str) -> str:
    manifest = store.get("manifests", {}).get(store.get("active_manifest"), {})
    signature = manifest.get("signature_info", {})
    makers = [str(each.get("name")) for each in manifest.get("claim_generator_info", []) if each.get("name")]
    parts = [f"C2PA manifest: {state}"]
    parts += [f"signed by {signature['issuer']}"] if signature.get("issuer") else []
    parts += [f"at {signature['time']}"] if signature.get("time") else []
    parts += [f"made with {', '.join(makers)}"] if makers else []
    codes = [str(each.get("code")) for each in store.get("validation_status", [])]
    parts += [f"found: {', '.join(codes)}"] if codes else []
    return ", ".join(part[:_LONGEST] for part in parts)
