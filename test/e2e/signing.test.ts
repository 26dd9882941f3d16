// Signing elsewhere: what was observed here is signed there, byte for byte, or not at all.
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { packUnsigned, unpackArchive } from "@envidence/core"
import { main as emit } from "@envidence/emit"
import { nodeCompression } from "@envidence/oci"
import { afterAll, describe, expect, test } from "vitest"
import { expectRefusal, expectVerdict } from "../bundles/expectations.ts"
import { newFixture } from "../bundles/fixture.ts"
import { sha256 } from "../bundles/image.ts"
import { rewrite } from "../bundles/rewrite.ts"
import { buildState, newFolder, removeFolders } from "../bundles/state.ts"
import { verify, writeTemporary } from "../bundles/verifying.ts"

const { state, key, args } = await newFixture()
const unsigned = await packUnsigned(state, nodeCompression)
const unsignedFile = writeTemporary("evidence-bundle.unsigned.tar.gz", unsigned)
const keyFile = writeTemporary("private.pem", key.privateKeyPem)
const statementDigest = sha256(state.statement)
afterAll(removeFolders)

const sign = (file: string, ...more: string[]) => signTo(join(newFolder(), "evidence-bundle.tar.gz"), file, ...more)

async function signTo(output: string, file: string, ...more: string[]) {
  let stdout = ""
  let stderr = ""
  const exitCode = await emit(["sign", file, "--output", output, "--progress", "none", ...more], {
    stdout: text => {
      stdout += text
    },
    stderr: text => {
      stderr += text
    },
    isTerminal: false,
    env: {},
    now: () => new Date(),
    signal: new AbortController().signal,
    nodePath: process.execPath,
    nodeVersion: process.versions.node,
    temporaryDirectory: newFolder(),
  })
  return { exitCode, stdout, stderr, output, code: /\[([a-z-]+)\]$/m.exec(stderr)?.[1] ?? null }
}
const refused = async (...argv: Parameters<typeof sign>) => {
  const { exitCode, code, output } = await sign(...argv)
  expect(() => readFileSync(output)).toThrow()
  return [exitCode, code]
}

describe("packing", () => {
  test("the same state twice gives equal bytes", async () => {
    const again = await packUnsigned(await buildState(), nodeCompression)
    expect(Buffer.compare(unsigned, again)).toBe(0)
  })
  test("an unsigned bundle is refused by verify", async () => {
    expectRefusal(await verify(unsigned, args), 4, "no-attestation")
  })
})

describe("sign", () => {
  test("signs the statement that was made, and changes nothing else", async () => {
    const { exitCode, output, stdout } = await sign(unsignedFile, "--key", keyFile)
    expect([exitCode, stdout]).toEqual([0, expect.stringContaining("Signed")])
    const signed = readFileSync(output)
    expectVerdict(await verify(signed, args), 0)
    const [head, ...members] = await unpackArchive(signed, nodeCompression)
    const [, ...before] = await unpackArchive(unsigned, nodeCompression)
    expect(head?.path).toBe("attestation.sigstore.json")
    expect(members.map(({ path, bytes }) => [path, sha256(bytes)])).toEqual(
      before.map(({ path, bytes }) => [path, sha256(bytes)]),
    )
    const { dsseEnvelope } = JSON.parse(Buffer.from(head?.bytes ?? []).toString())
    expect(sha256(Buffer.from(dsseEnvelope.payload, "base64"))).toBe(statementDigest)
  })
  test.each([statementDigest, `sha256:${statementDigest}`])(
    "signs only the statement that is expected: %s",
    async digest => {
      expect((await sign(unsignedFile, "--key", keyFile, "--expect-digest", digest)).exitCode).toBe(0)
    },
  )
  test.each(["0".repeat(64), sha256(unsigned), "", "sha256:"])("refuses another: %j", async digest => {
    expect(await refused(unsignedFile, "--key", keyFile, `--expect-digest=${digest}`)).toEqual([4, "digest-mismatch"])
  })
  test("refuses a statement for other files", async () => {
    const { members } = rewrite(state, { members: { "artifacts/oci-labels/x": "x" } })
    const other = await packUnsigned({ members, statement: state.statement }, nodeCompression)
    expect(await refused(writeTemporary("u.tar.gz", other), "--key", keyFile)).toEqual([4, "manifest-not-signed"])
  })
  test("refuses to sign what is no statement of ours", async () => {
    const other = rewrite(state, {
      statement: statement => (statement.predicateType = "https://slsa.dev/provenance/v1"),
    })
    const file = writeTemporary("u.tar.gz", await packUnsigned(other, nodeCompression))
    expect(await refused(file, "--key", keyFile)).toEqual([4, "wrong-predicate-type"])
  })
  test("refuses a bundle that is signed already, and one that is none", async () => {
    const { output } = await sign(unsignedFile, "--key", keyFile)
    expect(await refused(output, "--key", keyFile)).toEqual([2, "usage"])
    expect(await refused(writeTemporary("u.tar.gz", "no"), "--key", keyFile)).toEqual([4, "malformed-archive"])
    expect(await refused("/nonexistent", "--key", keyFile)).toEqual([2, "input-not-found"])
  })
  test("keeps an existing file, unless it is told otherwise", async () => {
    const existing = writeTemporary("evidence-bundle.tar.gz", "precious")
    const kept = await signTo(existing, unsignedFile, "--key", keyFile)
    expect([kept.exitCode, kept.code, readFileSync(existing, "utf8")]).toEqual([2, "usage", "precious"])
    expect((await signTo(existing, unsignedFile, "--key", keyFile, "--force")).exitCode).toBe(0)
    expectVerdict(await verify(readFileSync(existing), args), 0)
  })
  test("finds out first that there is no such folder", async () => {
    const { exitCode, code } = await signTo("/nonexistent/b.tar.gz", unsignedFile, "--key", keyFile)
    expect([exitCode, code]).toEqual([2, "usage"])
  })
  test("needs to be told how", async () => {
    const { exitCode, code, stderr } = await sign(unsignedFile)
    expect([exitCode, code]).toEqual([2, "signing-not-chosen"])
    for (const way of ["--identity-token", "--key"]) expect(stderr).toContain(way)
  })
})
