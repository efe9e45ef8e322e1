#!/usr/bin/env python3
"""Sends a mixed load to a vLLM with the official openai client and keeps what the client itself saw.

usage: traffic.py VLLM_URL TAG OUT.json [N]

TAG is the tracestate member of the customer "acme", as `tollkeeper tag --customer acme` prints it. OUT.json is a list: customer, id
(as the API answered it), prompt and completion tokens of the answer's `usage`, and whether the client left before the end.
Requests of "acme" carry the tag, those of "globex" an X-Request-Id that a pattern reads, all others nothing: they are billed by
the engine's resource.
"""
import concurrent.futures
import json
import random
import sys

import openai

WORDS = "one two three four five six seven eight nine ten billing tokens prompt answer city coast bridge".split()
ABORT_AFTER = 3  # chunks; the request asks for far more tokens, so that the engine has to abort it


def main(url, tag, out, count):
    client = openai.OpenAI(base_url=url + "/v1", api_key="none", max_retries=0, timeout=120)
    plan = [Request(client, tag, i) for i in range(count)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(lambda r: r.play(), plan))
    with open(out, "w", encoding="utf-8") as f:
        json.dump(seen, f, indent=1)
    aborted = sum(s["aborted"] for s in seen)
    print(f"{len(seen)} requests, {aborted} of them aborted by the client, kinds: {sorted({s['kind'] for s in seen})}")


class Request:
    """The i-th request. All of it follows from i, so a run can be repeated."""

    def __init__(self, client, tag, i):
        self.client, self.i, self.random = client, i, random.Random(i)
        self.customer = ("acme", "globex", "initech")[i % 3]
        self.aborts = i % 11 == 7
        self.headers = {}
        if self.customer == "acme":
            self.headers["traceparent"] = f"00-{self.random.getrandbits(128) | 1:032x}-{self.random.getrandbits(64) | 1:016x}-01"
            self.headers["tracestate"] = tag + ",vendor=1"
        elif self.customer == "globex":
            self.headers["X-Request-Id"] = f"globex-{i:04d}"
            if i % 2:  # a caller that asks not to be sampled: OTEL_TRACES_SAMPLER=always_on must not care
                self.headers["traceparent"] = f"00-{self.random.getrandbits(128) | 1:032x}-{self.random.getrandbits(64) | 1:016x}-00"
        elif i % 4 == 0 and not self.aborts:
            self.headers["X-Request-Id"] = "the-same-for-many"

    def words(self):
        return " ".join(self.random.choices(WORDS, k=self.random.randint(1, 30)))

    def play(self):
        kinds = [self.chat, self.chat_n, self.chat_stream, self.chat_stream_n, self.completion, self.prompts, self.prompts_n, self.stop, self.completion_stream]
        kind = self.abort if self.aborts else kinds[self.i % len(kinds)]
        answer = kind()
        return {"customer": self.customer, "kind": kind.__name__, "aborted": kind == self.abort, **answer}

    # What is common to all requests.
    def create_chat(self, **more):
        return self.client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": self.words()}], max_tokens=self.random.randint(1, 40),
            temperature=0.8, seed=self.i, extra_headers=self.headers, **more)

    def create_completion(self, prompt, **more):
        return self.client.completions.create(
            model=MODEL, prompt=prompt, max_tokens=self.random.randint(1, 40), temperature=0.8, seed=self.i, extra_headers=self.headers, **more)

    def chat(self):
        return told(self.create_chat())

    def chat_n(self):
        return told(self.create_chat(n=self.random.randint(2, 4)))

    def chat_stream(self):
        return streamed(self.create_chat(stream=True, stream_options={"include_usage": True}))

    def chat_stream_n(self):
        return streamed(self.create_chat(stream=True, stream_options={"include_usage": True}, n=3))

    def completion(self):
        return told(self.create_completion(self.words()))

    def completion_stream(self):
        return streamed(self.create_completion(self.words(), stream=True, stream_options={"include_usage": True}))

    def prompts(self):
        return told(self.create_completion([self.words() for _ in range(self.random.randint(2, 4))]))

    def prompts_n(self):
        return told(self.create_completion([self.words() for _ in range(2)], n=2))

    def stop(self):
        return told(self.create_chat(stop=["e", "a"]))

    def abort(self):
        stream = self.client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": self.words()}], max_tokens=900, temperature=0.8, seed=self.i,
            stream=True, extra_body={"ignore_eos": True}, extra_headers=self.headers)
        request_id = ""
        for seen, chunk in enumerate(stream, 1):
            request_id = chunk.id
            if seen == ABORT_AFTER:
                break
        stream.close()
        return {"id": request_id, "prompt_tokens": None, "completion_tokens": None}


def told(answer):
    return usage_of(answer.id, answer.usage)


def streamed(stream):
    last, request_id = None, ""
    for chunk in stream:
        request_id = chunk.id
        last = chunk.usage or last
    return usage_of(request_id, last)


def usage_of(request_id, usage):
    return {"id": request_id, "prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens}


MODEL = "facebook/opt-125m"

if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(sys.argv[1].rstrip("/"), sys.argv[2], sys.argv[3], int(sys.argv[4]) if len(sys.argv) > 4 else 240)
