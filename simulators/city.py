"""A whole city as configuration: many institutions of a few buildings each, written as site.toml and story.toml.

The files are read like any others, so that everything that works for the bureau works for the city. Each
institution is a site of its own and is worked out alone (`Bureau.parts`): memory is that of one site.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from metering.explain import ExplainedError
from simulators.grid import stream

BUREAU = Path(__file__).parent / "bureau"
BUILDINGS_PER_SITE = 5
USES = ("office", "service_hall", "school", "archive", "canteen")
NAMES = {
    "office": ("Offices", "办公楼"),
    "service_hall": ("Service hall", "服务大厅"),
    "school": ("School", "学校"),
    "archive": ("Archive", "档案馆"),
    "canteen": ("Canteen", "食堂"),
}
# end use, rated W/m2, profile of Modbus; two of each, for two halves of the building
ELECTRIC = (
    ("lighting", 16, "eastron_sdm630"),
    ("hvac", 60, "gavazzi_em340"),
    ("power", 20, "abb_b24"),
)
STORY = """# Shapes of the city's loads; each end use has a meter for either half of its building.
seed = {seed}
anchor = {anchor}

[[load]]
meter = "*-lighting-?"
shape = "lighting"
size = 0.5

[[load]]
meter = "*-hvac-?"
shape = "hvac"
size = 0.5

[[load]]
meter = "*-power-?"
shape = "sockets"
size = 0.5

[[load]]
meter = "*-incomer"
shape = "grounds"
size = 0.2
"""


def write_city(
    folder: Path,
    *,
    buildings: int = 300,
    meters: int = 3000,
    vehicles: int = 300,
    first_port: int = 15_020,
    broker: str = "demo",
    seed: int = 1,
    anchor: str = "2023-06-01",
) -> None:
    """Write a city's site.toml, story.toml and factors.toml into a folder.

    Parameters
    ----------
    meters : how many; a building has at most 10, which can take less
    first_port : each institution's Modbus line has a port of its own from here on, on loopback
    broker : id of the broker that its vehicles and water meters publish to
    anchor : the local day on which its counters begin

    Raises
    ------
    ExplainedError
        If so few buildings cannot hold so many meters.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sites = -(-buildings // BUILDINGS_PER_SITE)
    blocks: list[str] = []
    left = meters
    for number in range(sites):
        some = min(BUILDINGS_PER_SITE, buildings - number * BUILDINGS_PER_SITE)
        rows = list(_site(number, some, first_port + number, broker, seed))
        devices = [row for row in rows if row[0] == "meter"]
        blocks += [text for kind, text in rows if kind != "meter"]
        blocks += [text for _, text in devices[:left]]
        left -= len(devices[:left])
    if left:
        raise ExplainedError(
            f"{meters} meters", f"do not fit into {buildings} buildings", f"ask for at most {meters - left}"
        )
    blocks += [_vehicle(i, i * sites // max(vehicles, 1), broker) for i in range(vehicles)]
    (folder / "site.toml").write_text("\n".join(blocks), encoding="utf-8")
    (folder / "story.toml").write_text(STORY.format(seed=seed, anchor=anchor), encoding="utf-8")
    shutil.copyfile(BUREAU / "factors.toml", folder / "factors.toml")


def _table(kind: str, **values: object) -> str:
    lines = [f"[[{kind}]]"]
    for key, value in values.items():
        if value is not None:
            written = str(value).lower() if isinstance(value, bool) else value
            lines.append(f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {written}")
    return "\n".join([*lines, ""])


def _site(number: int, buildings: int, port: int, broker: str, seed: int) -> Iterator[tuple[str, str]]:
    rng = stream(seed, "city", str(number))
    site = f"s{number:03d}"
    line = f"modbus-tcp://127.0.0.1:{port}"
    yield "site", _table(
        "site", id=site, name=f"Institution {number + 1}", name_zh=f"单位 {number + 1}", timezone="Asia/Shanghai",
        latitude=35.0, longitude=113.0, country="CN",
    )  # fmt: skip
    units = iter(range(1, 248))

    def meter(name: str, carrier: str, **more: object) -> tuple[str, str]:
        more.setdefault("cadence_s", 900)
        return "meter", _table(
            "meter", id=f"{site}-{name}", name=f"{site} {name}", carrier=carrier, simulated=True, **more
        )

    def wired(name: str, carrier: str, profile: str, **more: object) -> tuple[str, str]:
        return meter(name, carrier, profile=profile, connection=line, unit_id=next(units), **more)

    yield wired("incomer", "electricity", "siemens_pac3200", site=site, role="grid", poll_s=10)
    yield wired("water", "water", "wirenboard_mcm8_water.1", site=site, role="grid")
    yield wired("heat", "heat", "meterhall_heat", site=site, role="grid")
    for i in range(buildings):
        use = USES[i % len(USES)]
        area = round(float(rng.uniform(2_000, 14_000)) * (0.3 if use == "canteen" else 1))
        house, (en, zh) = f"{site}-b{i}", NAMES[use]
        yield "building", _table(
            "building", id=house, site=site, name=f"{en} {i + 1}", name_zh=f"{zh} {i + 1}", use=use,
            floor_area=area, persons=max(5, area // 20),
        )  # fmt: skip
        place = {"building": house}
        yield wired(f"b{i}-main", "electricity", "schneider_pm5110", parent=f"{site}-incomer", **place)
        for end_use, per_m2, profile in ELECTRIC:
            for half in (1, 2):
                yield wired(
                    f"b{i}-{end_use}-{half}", "electricity", profile, parent=f"{site}-b{i}-main", end_use=end_use,
                    rated_power_w=per_m2 * area, poll_s=60, **place,
                )  # fmt: skip
        topic = f"mqtt://{broker}/application/city/device/{site}b{i}"
        yield meter(f"b{i}-water", "water", profile="chirpstack_v4", connection=topic, parent=f"{site}-water", **place)
        yield wired(f"b{i}-heat", "heat", "meterhall_heat", parent=f"{site}-heat", **place)
        if use == "canteen":
            yield wired(f"b{i}-gas", "gas", "wirenboard_mcm8_gas.1", role="grid", **place)
        else:
            yield wired(
                f"b{i}-common", "electricity", "eastron_sdm120", parent=f"{site}-b{i}-main", end_use="special", **place
            )


def _vehicle(number: int, site: int, broker: str) -> str:
    drive, profile, base, battery, tank = (
        ("electric", "ovms_v3", "ovms/city/EV", 60, None),
        ("plug_in_hybrid", "emqx_gbt32960", "gbt32960/LTESTCITY", 18, 48),
        ("petrol", "teltonika_json", "35000000", None, 50),
    )[number % 3]
    return _table(
        "vehicle", id=f"v{number:04d}", site=f"s{site:03d}", name=f"Vehicle {number + 1}",
        name_zh=f"公务车 {number + 1}", plate=f"Y-{number:04d}", drive=drive, profile=profile, connection=f"mqtt://{broker}/{base}{number:04d}",
        battery_kwh=battery, tank_l=tank, cadence_s=3600, simulated=True,
    )  # fmt: skip
