"""Reads the metrics of a daemon as an OpenMetrics client does, and holds them to the page that documents them.

    check.py METRICS MONITORING.MD

Must never pass on an empty text, nor on a metric that the page does not have. Called by tests/monitoring/run.
"""

import re
import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families


def main(metrics, page):
    text = open(metrics, encoding="utf-8").read()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    section = open(page, encoding="utf-8").read().split("\n## Monitoring\n")[1].split("\n## ")[0]
    documented = set(re.findall(r"^\| `(servos_keyd_[a-z_]+)` \|", section, re.MULTILINE))
    counters = {name + "_total" for name, family in families.items() if family.type == "counter"}
    others = {name for name, family in families.items() if family.type != "counter"}
    assert len(documented) > 20, documented
    assert counters | others == documented, (counters | others) ^ documented

    def value(name, **labels):
        family = families[re.sub("_(total|count|sum|bucket)$", "", name) if name not in families else name]
        found = [sample.value for sample in family.samples if sample.name == name and sample.labels == labels]
        assert len(found) == 1, (name, labels, found)
        return found[0]

    assert value("servos_keyd_calls_total", operation="Encrypt") == 1
    assert value("servos_keyd_calls_total", operation="Decrypt") == 2
    assert value("servos_keyd_call_errors_total", operation="Decrypt") == 1
    assert value("servos_keyd_errors_total", code="INVALID_ARGUMENT") == 1
    assert value("servos_keyd_call_duration_seconds_count", operation="Decrypt") == 2
    assert 0 < value("servos_keyd_call_duration_seconds_sum", operation="Decrypt") < 10
    assert value("servos_keyd_store_writable") == 1
    assert value("servos_keyd_store_size_bytes") > 4096
    assert value("servos_keyd_locked_memory_bytes") >= 4096
    print(f"{len(families)} metrics, as documented; a client of OpenMetrics reads them")


if __name__ == "__main__":
    main(*sys.argv[1:])
