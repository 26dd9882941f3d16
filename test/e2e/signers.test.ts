// Whose signature counts: the verifier or its policy says it. Exit code 5 for anybody else's.
import { renderReport } from "@envidence/core"
import { publicKeyFingerprint } from "@envidence/trust"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { expectNoReport, expectRefusal, expectVerdict } from "../bundles/expectations.ts"
import { type Fixture, newFixture } from "../bundles/fixture.ts"
import { startKeyless } from "../bundles/keyless.ts"
import { newKeyPair } from "../bundles/signing.ts"
import { removeFolders } from "../bundles/state.ts"
import { verify, writeTemporary } from "../bundles/verifying.ts"
import { startSigstore } from "../sigstore/start.ts"

const alice = { email: "alice@example.com" }
const workflow = { repository: "acme/tiles" }
const ISSUER = "https://oidc.sigstore-lab.invalid"

let keyless: Awaited<ReturnType<typeof startKeyless>>
let foreign: Awaited<ReturnType<typeof startSigstore>>
let byKey: Fixture
let subject: readonly string[]
let byAlice: Uint8Array
let byWorkflow: Uint8Array

beforeAll(async () => {
  ;[keyless, foreign, byKey] = await Promise.all([startKeyless(), startSigstore(), newFixture()])
  subject = ["--image-digest", byKey.state.imageDigest, "--policy", "demo"]
  byAlice = await keyless.sign(byKey.state, alice)
  byWorkflow = await keyless.sign(byKey.state, workflow)
})
afterAll(async () => {
  await Promise.all([keyless.stop(), foreign.stop()])
  removeFolders()
})

const check = (bundle: Uint8Array, ...args: string[]) => verify(bundle, [...subject, ...args])
const SET_ASIDE = "the policy's own signers were set aside by the command line"
const named = (identity: string, issuer: string) => [
  ...["--certificate-identity", identity, "--certificate-oidc-issuer", issuer],
  ...keyless.offline,
]
const matching = (identity: string, issuer: string) => [
  ...["--certificate-identity-regexp", identity, "--certificate-oidc-issuer-regexp", issuer],
  ...keyless.offline,
]
const policyOf = (...signers: object[]) =>
  writeTemporary(
    "policy.json",
    JSON.stringify({ id: "hub", version: "3", signers, criteria: { "oci-labels": { required: true } } }),
  )
const keySha256 = () => publicKeyFingerprint(byKey.key.publicKeyPem)

describe("an identity", () => {
  test("exactly as named", async () => {
    const report = expectVerdict(await check(byAlice, ...keyless.argsFor(alice)), 0)
    expect(report.bundles[0]?.signer).toMatchObject({ kind: "keyless", identity: alice.email, issuer: ISSUER })
    expect(report.trustedRoot?.sha256).toMatch(/^[0-9a-f]{64}$/)
  })
  test("of a workflow, with what its certificate says", async () => {
    const report = expectVerdict(await check(byWorkflow, ...keyless.argsFor(workflow)), 0)
    expect(report.bundles[0]?.signer?.claims).toMatchObject({ runnerEnvironment: "self-hosted" })
  })
  const wrong: readonly [string, string, string][] = [
    ["another", "bob@example.com", ISSUER],
    ["another issuer", alice.email, "https://accounts.example.com"],
    ["a beginning of it", "alice@example", ISSUER],
    ["an end of it", "lice@example.com", ISSUER],
    ["one that goes on", "alice@example.com.evil.com", ISSUER],
    ["in capitals", "Alice@example.com", ISSUER],
    ["with a space", "alice@example.com ", ISSUER],
    ["a pattern, exactly", ".*", ISSUER],
    ["a beginning of the issuer", alice.email, "https://oidc.sigstore-lab"],
    ["the issuer with a slash", alice.email, `${ISSUER}/`],
  ]
  test.each(wrong)("%s", async (_, identity, issuer) => {
    const report = expectRefusal(await check(byAlice, ...named(identity, issuer)), 5, "untrusted-signer")
    expect(report.bundles[0]?.signer).toMatchObject({ identity: alice.email, issuer: ISSUER })
    expect(report.error?.message).toBe(
      `expected ${identity} (issuer ${issuer}), found ${alice.email} (issuer ${ISSUER})`,
    )
  })
  test("by patterns that match all of it", async () => {
    expectVerdict(await check(byAlice, ...matching(".*@example\\.com", "https://.*")), 0)
  })
  const unmatched: readonly [string, string, string][] = [
    ["a pattern that matches a part", "@example", "https://.*"],
    ["a pattern that matches the beginning", "alice", "https://.*"],
    ["alternatives that would escape their anchors", "x|alice@example.com.*|y", "sigstore"],
    ["an issuer's pattern that matches a part", ".*", "sigstore-lab"],
  ]
  test.each(unmatched)("%s", async (_, identity, issuer) => {
    expectRefusal(await check(byAlice, ...matching(identity, issuer)), 5, "untrusted-signer")
  })
  test("of another's Sigstore", async () => {
    const args = ["--certificate-identity", alice.email, "--certificate-oidc-issuer", ISSUER, "--offline"]
    const run = await check(byAlice, ...args, "--trusted-root", foreign.trustedRootFile)
    const report = expectRefusal(run, 5, "untrusted-authority")
    expect(report.bundles[0]?.signer).toBeNull()
  })
  test("anybody's, of the trusted authority alone", async () => {
    expectVerdict(await check(byAlice, "--any-signer-unsafe", ...keyless.offline), 0)
    const root = ["--offline", "--trusted-root", foreign.trustedRootFile]
    expectRefusal(await check(byAlice, "--any-signer-unsafe", ...root), 5, "untrusted-authority")
  })
})

describe("a key", () => {
  test("the right one", async () => {
    const report = expectVerdict(await check(byKey.bundle, "--key", byKey.keyFile), 0)
    expect(report.bundles[0]?.signer).toEqual({
      kind: "key",
      identity: `sha256:${keySha256()}`,
      issuer: null,
      claims: {},
    })
    expect([report.bundles[0]?.signedAt, report.trustedRoot]).toEqual([null, null])
  })
  test("another", async () => {
    const other = writeTemporary("other.pem", newKeyPair().publicKeyPem)
    const report = expectRefusal(await check(byKey.bundle, "--key", other), 5, "untrusted-key")
    expect(report.error?.message).toMatch(/^expected key sha256:[0-9a-f]{64}, found /)
  })
  test("where the bundle is keyless", async () => {
    expectRefusal(await check(byAlice, "--key", byKey.keyFile), 5, "untrusted-signer")
  })
  test("signed, where an identity is demanded", async () => {
    expectRefusal(await check(byKey.bundle, ...keyless.argsFor(alice)), 5, "untrusted-key")
  })
  test("signed, and anybody would do: no key is known that it could be checked with", async () => {
    expectRefusal(await check(byKey.bundle, "--any-signer-unsafe", ...keyless.offline), 5, "untrusted-key")
  })
  test("or an identity, whichever signed", async () => {
    const args = ["--key", byKey.keyFile, ...keyless.argsFor(alice)]
    expectVerdict(await check(byKey.bundle, ...args), 0)
    expectVerdict(await check(byAlice, ...args), 0)
    expectRefusal(await check(byWorkflow, ...args), 5, "untrusted-signer")
  })
})

describe("signers of the policy", () => {
  const under = (bundle: Uint8Array, policy: string, ...args: string[]) =>
    verify(bundle, ["--image-digest", byKey.state.imageDigest, "--policy", policy, ...args])

  test("an identity", async () => {
    const policy = policyOf({ identity: alice.email, issuer: ISSUER })
    expectVerdict(await under(byAlice, policy, ...keyless.offline), 0)
    expectRefusal(await under(byWorkflow, policy, ...keyless.offline), 5, "untrusted-signer")
    expectRefusal(await under(byKey.bundle, policy, ...keyless.offline), 5, "untrusted-key")
  })
  test("a key, whose PEM is given beside it", async () => {
    const policy = policyOf({ keySha256: keySha256() })
    expectVerdict(await under(byKey.bundle, policy, "--key", byKey.keyFile), 0)
    expectRefusal(await under(byAlice, policy, "--key", byKey.keyFile), 5, "untrusted-signer")
  })
  test("keys alone, and no PEM to verify with", async () => {
    const run = await under(byKey.bundle, policyOf({ keySha256: keySha256() }))
    expectNoReport(run, 2, "usage")
    expect(run.stderr).toMatch(new RegExp(`--key.*sha256:${keySha256()}`))
  })
  test("a key and an identity, and no PEM to verify with", async () => {
    const policy = policyOf({ keySha256: keySha256() }, { identity: alice.email, issuer: ISSUER })
    expectVerdict(await under(byAlice, policy, ...keyless.offline), 0)
    const report = expectRefusal(await under(byKey.bundle, policy, ...keyless.offline), 5, "untrusted-key")
    expect(report.error?.message).toMatch(/its PEM is not given/)
  })
  test("set aside by the command line, which the report says", async () => {
    const policy = policyOf({ identity: "x@example.com", issuer: ISSUER })
    const set = expectVerdict(await under(byKey.bundle, policy, "--key", byKey.keyFile), 0)
    expect(set.honesty.notChecked).toContain(SET_ASIDE)
    expect(renderReport(set, "text")).toMatch(/^Set aside /m)
    const kept = policyOf({ identity: alice.email, issuer: ISSUER })
    const { honesty } = expectVerdict(await under(byAlice, kept, ...keyless.offline), 0)
    expect(honesty.notChecked).not.toContain(SET_ASIDE)
    const named = policyOf({ keySha256: keySha256() })
    const same = expectVerdict(await under(byKey.bundle, named, "--key", byKey.keyFile), 0)
    expect(same.honesty.notChecked).not.toContain(SET_ASIDE)
  })
  test("and anybody contradict each other", async () => {
    const policy = policyOf({ identity: alice.email, issuer: ISSUER })
    expectNoReport(await under(byAlice, policy, "--any-signer-unsafe", ...keyless.offline), 2, "usage")
  })
})

describe("wrong usage", () => {
  const cases: readonly [string, string, () => string[]][] = [
    ["nobody", "no-signer-chosen", () => []],
    ["nobody, with a trusted root", "no-signer-chosen", () => keyless.offline],
    ["an identity without its issuer", "usage", () => ["--certificate-identity", "a"]],
    ["an issuer without an identity", "usage", () => ["--certificate-oidc-issuer", "a"]],
    ["an identity twice", "usage", () => [...keyless.argsFor(alice), "--certificate-identity", "x"]],
    ["an identity and its pattern", "usage", () => [...keyless.argsFor(alice), "--certificate-identity-regexp", "x"]],
    ["an identity, and anybody", "usage", () => [...keyless.argsFor(alice), "--any-signer-unsafe"]],
    ["a key, and anybody", "usage", () => ["--key", byKey.keyFile, "--any-signer-unsafe"]],
    ["an empty identity", "usage", () => named("", ISSUER)],
    ["an empty pattern", "usage", () => matching("", ".*")],
    ["a broken pattern", "usage", () => matching("(", ".*")],
    ["a pattern that closes our anchor", "usage", () => matching("a)|(?:.*", ".*")],
    ["a key that does not exist", "input-not-found", () => ["--key", "/nonexistent.pem"]],
    ["a key that is none", "usage", () => ["--key", writeTemporary("k.pem", "hello")]],
    ["a private key", "usage", () => ["--key", writeTemporary("k.pem", byKey.key.privateKeyPem)]],
    ["a root that does not exist", "input-not-found", () => ["--any-signer-unsafe", "--trusted-root", "/nonexistent"]],
    ["offline without a root", "usage", () => ["--any-signer-unsafe", "--offline"]],
  ]
  test.each(cases)("%s: %s", async (_, code, args) => {
    expectNoReport(await check(byAlice, ...args()), 2, code)
  })
})
