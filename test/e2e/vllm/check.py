#!/usr/bin/env python3
"""Compares what tollkeeper recorded and invoiced with what the client saw and what vLLM counted. Exit code 1: they differ.

usage: check.py TOLLKEEPER DATA TRAFFIC.json METRICS_BEFORE METRICS_AFTER PRICES.yaml

Standard library only, and no code of tollkeeper's: sums are Python's, money is Python's decimal.
"""
import collections
import decimal
import json
import re
import subprocess
import sys
import time

DEADLINE = 60  # seconds for the last spans to arrive: vLLM exports every half second here
CENT = decimal.Decimal("0.01")
QUANTITIES = ("input_tokens", "output_tokens")
failures = []


def main(program, data, traffic, before, after, prices):
    with open(traffic, encoding="utf-8") as f:
        seen = json.load(f)
    delta = {name: counter(after, name) - counter(before, name) for name in (
        "request_success_total", "request_prompt_tokens_sum", "request_generation_tokens_sum", "generation_tokens_total")}
    ask = lambda *args: tollkeeper(program, data, *args)
    records = wait_for(ask, delta["request_success_total"])
    engine(records, delta)
    clients(records, seen, delta)
    for customer in sorted({s["customer"] for s in seen}):
        invoices(ask, customer, records, read_prices(prices))
    proof(program, data, ask, records[0]["id"])
    print(f"{len(failures)} differences" if failures else "all agree")
    return 1 if failures else 0


def check(what, got, want):
    print(f"  {'ok  ' if got == want else 'FAIL'} {what}: {got}" + ("" if got == want else f", want {want}"))
    if got != want:
        failures.append(what)


def tollkeeper(program, data, *args):
    form = [] if args[0] == "prove" else ["-o", "json"]  # a proof is JSON in any case
    done = subprocess.run([program, *args, "--data", data, *form], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"tollkeeper {' '.join(args)}: {done.stderr}")
    return json.loads(done.stdout)


def counter(path, name):
    """Sums a vLLM counter over its labels."""
    with open(path, encoding="utf-8") as f:
        values = re.findall(rf"^vllm:{name}(?:{{[^}}]*}})? (\S+)$", f.read(), re.M)
    return int(sum(decimal.Decimal(v) for v in values))


def wait_for(ask, spans):
    until = time.monotonic() + DEADLINE
    while True:
        answer = ask("requests", "--limit", "100000")
        got = sum(len(r["observations"]) for r in answer["records"])
        if got >= spans or time.monotonic() > until:
            return answer["records"]
        time.sleep(0.2)


def engine(records, delta):
    print("vLLM's own counters (identity A)")
    spans = [o for r in records for o in r["observations"]]
    check("spans = request_success_total", len(spans), delta["request_success_total"])
    check("prompt tokens of spans = request_prompt_tokens_sum", total(spans, "input_tokens"), delta["request_prompt_tokens_sum"])
    check("completion tokens of spans = request_generation_tokens_sum", total(spans, "output_tokens"), delta["request_generation_tokens_sum"])


def total(things, quantity):
    return sum(t["quantities"].get(quantity, 0) for t in things)


def bare(request_id):
    """The part of an id that spans and answers share: a prompt's span has its index behind it."""
    return re.sub(r"^(cmpl-.*)-\d+$", r"\1", request_id)


def clients(records, seen, delta):
    print("what the clients saw in `usage`")
    left = {s["id"] for s in seen if s["aborted"]}
    late = [r for r in records if bare(r["request_id"]) in left]
    records = [r for r in records if r not in late]
    print(f"  left out on both sides: {len(left)} aborted requests, {len(late)} of which finished all the same: {sorted(left)}")
    print(f"  tokens of aborted requests, that no span tells: {delta['generation_tokens_total'] - delta['request_generation_tokens_sum']}")
    for customer in sorted({s["customer"] for s in seen}):
        mine = [s for s in seen if s["customer"] == customer and not s["aborted"]]
        billed = [r for r in records if r["customer"] == customer]
        check(f"{customer} requests", len(billed), len(mine))
        check(f"{customer} input_tokens", total(billed, "input_tokens"), sum(s["prompt_tokens"] for s in mine))
        check(f"{customer} output_tokens", total(billed, "output_tokens"), sum(s["completion_tokens"] for s in mine))
        billed_ids, seen_ids = (collections.Counter(ids) for ids in ([bare(r["request_id"]) for r in billed], [s["id"] for s in mine]))
        check(f"{customer} ids on one side only", sorted((billed_ids - seen_ids) + (seen_ids - billed_ids)), [])
    check("records of nobody the client is", sorted({r["customer"] for r in records} - {s["customer"] for s in seen}), [])


def read_prices(path):
    with open(path, encoding="utf-8") as f:
        text = f.read()
    per = decimal.Decimal(re.search(r"per: (\d+)", text).group(1))
    return {q: decimal.Decimal(re.search(rf'{q}: "([0-9.]+)"', text).group(1)) / per for q in QUANTITIES}


def invoices(ask, customer, records, prices):
    mine = [r for r in records if r["customer"] == customer]
    for month in sorted({r["time"][:7] for r in mine}):  # a run at a month's end has two
        print(f"invoice of {customer} for {month}")
        billed = [r for r in mine if r["time"].startswith(month)]
        want = {q: (total(billed, q) * prices[q]).quantize(CENT, decimal.ROUND_HALF_EVEN) for q in QUANTITIES}
        invoice = ask("invoice", "finalise", "--customer", customer, "--month", month, "--early")
        lines = {line["quantity"]: decimal.Decimal(line["amount"]) for line in invoice["lines"]}
        for q in QUANTITIES:
            check(f"{q} in cents", lines.get(q), want[q])
        check("total", decimal.Decimal(invoice["total"]), sum(want.values()))


def proof(program, data, ask, record):
    print("proof and verdict")
    path = data + "/proof.json"
    with open(path, "w", encoding="utf-8") as f:
        json.dump(ask("prove", "--request", record), f)
    key = ask("checkpoint")["verifier"]
    done = subprocess.run([program, "verify", "--proof", path, "--key", key], capture_output=True, text=True, check=False)
    check("the proof of " + record, done.returncode, 0)
    check("verify", ask("verify")["ok"], True)


if __name__ == "__main__":
    if len(sys.argv) != 7:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
