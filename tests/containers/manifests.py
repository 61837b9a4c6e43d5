"""What no schema asks of the manifests: that every container has every restriction, and that key and sockets are where they belong.

    manifests.py FILE...                    ends with 1 and a line for each that lacks something
    manifests.py --configuration FILE       the keyd.toml of its ConfigMap

Must never pass a file without a container. Called by checks.sh.
"""

import pathlib
import sys

import yaml


def objects(files):
    return [one for file in files for one in yaml.safe_load_all(pathlib.Path(file).read_text()) if one]


def pods(files):
    for one in objects(files):
        spec = one.get("spec", {})
        pod = spec if one["kind"] == "Pod" else spec.get("template", {}).get("spec")
        if pod:
            yield f'{one["kind"]}/{one["metadata"]["name"]}', pod


def faults(name, pod):
    of_pod = pod.get("securityContext", {})
    wanted = {
        "no account": pod.get("automountServiceAccountToken") is False,
        "not root": of_pod.get("runAsNonRoot") is True,
        "a filter of system calls": of_pod.get("seccompProfile") == {"type": "RuntimeDefault"},
    }
    secrets = {volume["name"] for volume in pod["volumes"] if "secret" in volume}
    for container in pod.get("initContainers", []) + pod["containers"]:
        of_container = container["securityContext"]
        where, user = container["name"], of_container.get("runAsUser", of_pod.get("runAsUser"))
        is_keyd = container["image"].startswith("localhost/servos-keyd:")
        mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
        wanted |= {
            f"{where}: no new privileges": of_container.get("allowPrivilegeEscalation") is False,
            f"{where}: a read-only root": of_container.get("readOnlyRootFilesystem") is True,
            f"{where}: no capability": of_container.get("capabilities") == {"drop": ["ALL"]},
            f"{where}: its own user": (user == 61000) == is_keyd and user is not None,
        }
        if is_keyd:
            wanted[f"{where}: the key, read-only"] = all(mounts[secret]["readOnly"] is True for secret in secrets) and bool(secrets)
        else:
            wanted[f"{where}: the socket alone, read-only"] = list(mounts) == ["socket"] and mounts["socket"]["readOnly"] is True
        if is_keyd and container.get("args") != ["init"]:
            probes = [container[probe]["exec"]["command"][-1] for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
            wanted[f"{where}: probes that ask for health"] = probes == ["health"] * 3
    return [f"{name}: without {what}" for what, has in wanted.items() if not has]


def main():
    if sys.argv[1] == "--configuration":
        print(next(one["data"]["keyd.toml"] for one in objects(sys.argv[2:]) if one["kind"] == "ConfigMap"), end="")
        return
    found = list(pods(sys.argv[1:]))
    lacking = [fault for name, pod in found for fault in faults(name, pod)]
    print("\n".join(lacking), end="")
    sys.exit(bool(lacking) or len(found) < 5)


if __name__ == "__main__":
    main()
