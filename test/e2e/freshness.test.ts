// Challenge and age: what is signed, and only trusted time. Exit code 5.
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { expectNoReport, expectRefusal, expectVerdict } from "../bundles/expectations.ts"
import { type Fixture, newFixture } from "../bundles/fixture.ts"
import { startKeyless } from "../bundles/keyless.ts"
import { type LooseJson, rewrite } from "../bundles/rewrite.ts"
import { signState } from "../bundles/signing.ts"
import { buildState, removeFolders } from "../bundles/state.ts"
import { verify, writeTemporary } from "../bundles/verifying.ts"

const CHALLENGE = "c0ffee".repeat(6)
const DAY_MS = 86_400_000

describe("the challenge", () => {
  let fixture: Fixture
  let plain: Fixture
  beforeAll(async () => {
    fixture = await newFixture({ challenge: CHALLENGE })
    plain = await newFixture()
  })
  afterAll(removeFolders)

  test("is the one that was given", async () => {
    const report = expectVerdict(await verify(fixture.bundle, [...fixture.args, "--challenge", CHALLENGE]), 0)
    expect(report.challenge).toEqual({ expected: CHALLENGE, found: CHALLENGE, outcome: "holds" })
  })
  test("is not demanded unless it was given", async () => {
    const report = expectVerdict(await verify(fixture.bundle, fixture.args), 0)
    expect(report.challenge).toMatchObject({ found: CHALLENGE, outcome: "not-checked" })
  })
  test("is another", async () => {
    const other = "00".repeat(16)
    const report = expectRefusal(
      await verify(fixture.bundle, [...fixture.args, "--challenge", other]),
      5,
      "challenge-mismatch",
    )
    expect(report.challenge).toEqual({ expected: other, found: CHALLENGE, outcome: "broken" })
  })
  test("is longer by one digit pair", async () => {
    expectRefusal(
      await verify(fixture.bundle, [...fixture.args, "--challenge", `${CHALLENGE}00`]),
      5,
      "challenge-mismatch",
    )
  })
  test("is in no evidence", async () => {
    const report = expectRefusal(
      await verify(plain.bundle, [...plain.args, "--challenge", CHALLENGE]),
      5,
      "challenge-mismatch",
    )
    expect(report.error?.message).toContain("none")
  })
  test("is claimed for episodes that were played before it", async () => {
    // Old observations under a new challenge: the seeds that were played are not those that it gives.
    const claim = rewrite(plain.state, { predicate: predicate => (predicate.challenge = CHALLENGE) })
    const bundle = await signState(claim, plain.key)
    expectRefusal(await verify(bundle, [...plain.args, "--challenge", CHALLENGE]), 6, "preview-disagrees")
    const honest = rewrite(claim, {
      predicate: ({ criteria }) => {
        criteria.find(({ id }: LooseJson) => id === "seeded-determinism").preview = "fail"
      },
    })
    const report = expectVerdict(
      await verify(await signState(honest, plain.key), [...plain.args, "--challenge", CHALLENGE]),
      3,
    )
    expect(report.findings.find(({ id }) => id === "seeded-determinism")?.because).toMatch(/seed \d+ is not one/)
  })
  test.each(["", "xyz", "C0FFEE".repeat(6), "00", "0".repeat(129)])("must be a nonce: %j", async challenge => {
    expectNoReport(await verify(plain.bundle, [...plain.args, `--challenge=${challenge}`]), 2, "usage")
  })
})

describe("the age", () => {
  let keyless: Awaited<ReturnType<typeof startKeyless>>
  let bundle: Uint8Array
  let args: readonly string[]
  const inDays = (days: number) => ({ now: new Date(Date.now() + days * DAY_MS) })

  beforeAll(async () => {
    keyless = await startKeyless()
    const state = await buildState()
    bundle = await keyless.sign(state, { email: "alice@example.com" })
    args = [
      ...keyless.argsFor({ email: "alice@example.com" }),
      ...["--image-digest", state.imageDigest, "--policy", "demo"],
    ]
  })
  afterAll(async () => {
    await keyless.stop()
    removeFolders()
  })

  test("is within --max-age", async () => {
    const report = expectVerdict(await verify(bundle, [...args, "--max-age", "90d"], inDays(89)), 0)
    expect(report.bundles[0]?.signedAt).toMatch(/^\d{4}-/)
  })
  test("is beyond --max-age", async () => {
    expectRefusal(await verify(bundle, [...args, "--max-age", "90d"], inDays(91)), 5, "too-old")
  })
  test("does not matter where nobody asks", async () => {
    expectVerdict(await verify(bundle, args, inDays(3650)), 0)
  })
  test("is bounded by the policy, and --max-age cannot stretch it", async () => {
    const policy = { id: "strict", version: "1", maxAgeDays: 30, criteria: { "oci-labels": { required: true } } }
    const file = writeTemporary("policy.json", JSON.stringify(policy))
    const strict = [...args.slice(0, -1), file]
    expectVerdict(await verify(bundle, strict, inDays(29)), 0)
    expectRefusal(await verify(bundle, strict, inDays(31)), 5, "too-old")
    expectRefusal(await verify(bundle, [...strict, "--max-age", "90d"], inDays(31)), 5, "too-old")
    expectRefusal(await verify(bundle, [...strict, "--max-age", "10d"], inDays(11)), 5, "too-old")
  })
  test("of a key's signature is unknown", async () => {
    const byKey = await newFixture()
    const report = expectRefusal(await verify(byKey.bundle, [...byKey.args, "--max-age", "90d"]), 5, "no-trusted-time")
    expect(report.bundles[0]?.signedAt).toBeNull()
  })
  test.each(["90", "d", "-1d", "1.5d", "90days", "999999d"])("must be days: %j", async age => {
    expectNoReport(await verify(bundle, [...args, `--max-age=${age}`]), 2, "usage")
  })
})
