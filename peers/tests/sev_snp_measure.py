# SPDX-License-Identifier: Apache-2.0

# Measures what a folder says by the page and VMSA functions of sev-snp-measure, one result a line.
#
# Lines of `list`: `fields`; `area [NAME VALUE | NAME SELECTOR ATTRIBUTES LIMIT BASE]...`, fields
# separated by semicolons; `digest`, followed by `TYPE ADDRESS LENGTH` for each part, whose content is
# in `content`, one after the other, and by `end`; `reset EIP FEATURES SIGNATURE`; `firmware FILE CPUS
# SIGNATURE FEATURES`, a launch by all of the program's own steps; `id MEASUREMENT ID_KEY AUTHOR_KEY`,
# an ID block, its authentication and both keys' digests.

import base64
import ctypes
import pathlib
import sys

from sevsnpmeasure import guest, id_block, sev_mode, vmsa
from sevsnpmeasure.gctx import GCTX

folder = pathlib.Path(sys.argv[1])
content = (folder / "content").read_bytes()
lines = iter((folder / "list").read_text().splitlines())
at = 0


def digest():
    global at
    gctx = GCTX()
    for line in lines:
        if line == "end":
            return gctx.ld().hex()
        kind, address, length = line.split()
        address, length = int(address), int(length)
        if kind in ("normal", "vmsa"):
            data = content[at:at + length]
            assert len(data) == length
            at += length
        if kind == "normal":
            gctx.update_normal_pages(address, data)
        elif kind == "vmsa":
            gctx.update_vmsa_page(data)
        elif kind == "zero":
            gctx.update_zero_pages(address, length)
        elif kind == "unmeasured":
            gctx.update_unmeasured_pages(address, length)
        elif kind == "secrets":
            gctx.update_secrets_page(address)
        elif kind == "cpuid":
            gctx.update_cpuid_page(address)
        else:
            raise ValueError(kind)


def area(text):
    values = {}
    for field in filter(None, text.split(";")):
        name, *numbers = field.split()
        numbers = [int(number) for number in numbers]
        values[name] = numbers[0] if len(numbers) == 1 else vmsa.VmcbSeg(*numbers)
    return bytes(vmsa.SevEsSaveArea(**values))


for line in lines:
    what, _, rest = line.partition(" ")
    if what == "fields":
        area_type = vmsa.SevEsSaveArea
        names = [name for name, _ in area_type._fields_]
        fields = [(name, getattr(area_type, name)) for name in names]
        print(" ".join(f"{name}:{field.offset}:{field.size}" for name, field in fields))
        assert ctypes.sizeof(area_type) == 4096
    elif what == "area":
        print(area(rest).hex())
    elif what == "digest":
        print(digest())
    elif what == "reset":
        eip, features, signature = (int(number) for number in rest.split())
        print(bytes(vmsa.VMSA.build_save_area(eip, features, signature)).hex())
    elif what == "firmware":
        file, cpus, signature, features = rest.split()
        print(guest.calc_launch_digest(
            sev_mode.SevMode.SEV_SNP, int(cpus), int(signature), str(folder / file), "", "", "",
            int(features)).hex())
    elif what == "id":
        measurement, id_key, author_key = rest.split()
        keys = (str(folder / id_key), str(folder / author_key))
        text = id_block.snp_calc_id_block(bytes.fromhex(measurement), *keys)
        blocks, id_digest, author_digest = text.splitlines()
        block, auth = blocks.split(",")
        parts = [block.removeprefix("id-block="), auth.removeprefix("id-auth=")]
        parts += [digest.split(": ")[1] for digest in (id_digest, author_digest)]
        print(" ".join(base64.b64decode(part).hex() for part in parts))
    else:
        raise ValueError(line)
