"""The YAML file of the paper's demonstrator agent, taken as it is.

    kafka-client: {id, bootstrap-servers}
    url-generator: {base, macaroons: {username, password, default-lifetime}}
    files:
      - target: the topic
        path-predicate: {matching, ignoring}
        urls:
          NAME:
            with-macaroon: {activity, lifetime}
            derived-path: {replacing, with}
            create-path: true

`matching` describes the whole path, `ignoring` is found anywhere; both are regular expressions. A
rule is named after its topic (the second one on a topic gets `-2`, and so on).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from pipeline.ingest.rules import NamedUrl, Rule, RuleSet
from pipeline.rules import parts
from pipeline.rules.storages import Storage

if TYPE_CHECKING:
    from pipeline.rules.document import Section

_DEFAULT_LIFETIME_S: Final = 5 * 60.0
"""What the paper's agent gave a macaroon without a lifetime."""


def rule_set(top: Section) -> RuleSet:
    """Read the whole file.

    Raises:
        RulesError: there is a mistake in it.
    """
    top.only("kafka-client", "url-generator", "files")
    client = top.section("kafka-client", "kafka-client")
    client.only("id", "bootstrap-servers")
    generator = top.section("url-generator", "url-generator")
    generator.only("base", "macaroons")
    account = generator.section("macaroons", "url-generator.macaroons")
    account.only("username", "password", "default-lifetime")
    lifetime_s = parts.lifetime(account, "default-lifetime", _DEFAULT_LIFETIME_S)
    storage = Storage(
        parts.web_address(generator, "base"),
        account.need("username", str),
        account.need("password", str),
    )
    names: Counter[str] = Counter()
    return RuleSet(
        rules=tuple(_rule(part, lifetime_s, names) for part in top.items("files", "files")),
        storages={"": storage},
        kafka_bootstrap=client.get("bootstrap-servers", str, ""),
        client_id=client.need("id", str),
    )


def _rule(part: Section, lifetime_s: float, names: Counter[str]) -> Rule:
    part.only("target", "path-predicate", "urls")
    target = part.need("target", str)
    names[target] += 1
    predicate = part.section("path-predicate", f"files {target!r}, path-predicate")
    predicate.only("matching", "ignoring")
    return Rule(
        name=target if names[target] == 1 else f"{target}-{names[target]}",
        topic=target,
        urls=tuple(_url(name, url, lifetime_s) for name, url in part.tables("urls", "URL")),
        matching=parts.pattern(predicate, "matching"),
        ignoring=parts.pattern(predicate, "ignoring"),
    )


def _url(name: str, part: Section, lifetime_s: float) -> NamedUrl:
    part.only("with-macaroon", "derived-path", "create-path")
    macaroon = part.section("with-macaroon", f"{part.title}, with-macaroon")
    macaroon.only("activity", "lifetime")
    derived = part.section("derived-path", f"{part.title}, derived-path")
    derived.only("replacing", "with")
    has_macaroon = "with-macaroon" in part.data
    return NamedUrl(
        name=name,
        activities=parts.activities(macaroon, "DOWNLOAD") if has_macaroon else (),
        lifetime_s=parts.lifetime(macaroon, "lifetime", lifetime_s),
        derived=parts.derived_path(derived),
        create_path=part.get("create-path", bool, default=False),
    )
