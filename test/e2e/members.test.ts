// Members and documents that are not the ones that were signed, or not in order: exit code 4.
import {
  type ArchiveMember,
  limits,
  packArchive,
  packUnsigned,
  readBundle,
  type UnsignedState,
  unpackArchive,
} from "@envidence/core"
import { nodeCompression } from "@envidence/oci"
import { afterAll, describe, expect, test } from "vitest"
import { expectRefusal, expectVerdict } from "../bundles/expectations.ts"
import { type Fixture, newFixture } from "../bundles/fixture.ts"
import { sha256 } from "../bundles/image.ts"
import { bytesOf, changedJson, type LooseJson, rewrite, text } from "../bundles/rewrite.ts"
import { signAs, signState } from "../bundles/signing.ts"
import { buildState, removeFolders } from "../bundles/state.ts"
import { runVerify, verify, writeTemporary } from "../bundles/verifying.ts"

const ATTESTATION = "attestation.sigstore.json"
const fixture: Fixture = await newFixture()
const members = await unpackArchive(fixture.bundle, nodeCompression)
const listed = members.slice(2)
afterAll(removeFolders)

const check = async (changed: readonly ArchiveMember[]) =>
  verify(await packArchive(changed, nodeCompression), fixture.args)
const replaced = (path: string, bytes: Uint8Array | string): ArchiveMember[] =>
  members.map(member => (member.path === path ? { path, bytes: Buffer.from(bytes) } : member))

test("the bundle as it was made is accepted", async () => {
  expectVerdict(await verify(fixture.bundle, fixture.args), 0)
})

describe("each member", () => {
  const flipped = (bytes: Uint8Array) => {
    const copy = Buffer.from(bytes)
    const middle = copy.length >> 1
    copy.writeUInt8(copy.readUInt8(middle) ^ 1, middle)
    return copy
  }
  test.each(listed)("$path altered in one bit", async ({ path, bytes }) => {
    expectRefusal(await check(replaced(path, flipped(bytes))), 4, "digest-mismatch")
  })
  test.each(listed)("$path with a byte more", async ({ path, bytes }) => {
    expectRefusal(await check(replaced(path, Buffer.concat([bytes, Buffer.from("\n")]))), 4, "digest-mismatch")
  })
  test.each(listed)("$path emptied", async ({ path }) => {
    expectRefusal(await check(replaced(path, "")), 4, "digest-mismatch")
  })
  test.each(listed)("$path removed", async ({ path }) => {
    expectRefusal(await check(members.filter(member => member.path !== path)), 4, "missing-member")
  })
  test.each(listed)("$path renamed", async ({ path }) => {
    const renamed = members.map(member => (member.path === path ? { ...member, path: `${path}x` } : member))
    expectRefusal(await check(renamed), 4, "unexpected-member")
  })
  test.each(listed)("$path swapped with another", async ({ path, bytes }) => {
    const other = listed.find(candidate => candidate.path !== path) as ArchiveMember
    const swapped = replaced(path, other.bytes).map(each => (each.path === other.path ? { ...each, bytes } : each))
    expectRefusal(await check(swapped), 4, "digest-mismatch")
  })
  test.each(listed)("$path altered, and manifest.json with it", async ({ path, bytes }) => {
    // A blank after JSON changes no meaning, so that nothing but the signature can notice; a log is text anyway.
    const addition = path.endsWith(".jsonl") ? "" : " "
    const content = addition === "" ? `${text(bytes)}${text(bytes).split("\n")[0]}\n` : `${text(bytes)}${addition}`
    const { members: altered } = rewrite(fixture.state, { members: { [path]: content } })
    expectRefusal(await check([members[0] as ArchiveMember, ...altered]), 4, "manifest-not-signed")
  })
  test.each(listed)("$path removed, and manifest.json with it", async ({ path }) => {
    const { members: altered } = rewrite(fixture.state, { members: { [path]: null } })
    const run = await check([members[0] as ArchiveMember, ...altered])
    const required = /^(submission|policy|snapshot|image\/(manifest|config))\.json$/.test(path)
    expectRefusal(run, 4, required ? "missing-member" : "manifest-not-signed")
  })

  test("one added", async () => {
    expectRefusal(await check([...members, { path: "zz.txt", bytes: Buffer.from("x") }]), 4, "unexpected-member")
  })
  test("one added, and manifest.json with it", async () => {
    const { members: altered } = rewrite(fixture.state, { members: { "artifacts/oci-labels/x": "x" } })
    expectRefusal(await check([members[0] as ArchiveMember, ...altered]), 4, "manifest-not-signed")
  })
  test("manifest.json altered in one byte that means nothing", async () => {
    const altered = replaced("manifest.json", `${text(bytesOf(members, "manifest.json"))} `)
    expectRefusal(await check(altered), 4, "manifest-not-signed")
  })
  test("manifest.json removed", async () => {
    expectRefusal(await check(members.filter(({ path }) => path !== "manifest.json")), 4, "missing-member")
  })
  test("manifest.json before the attestation", async () => {
    const [attestation, manifest, ...rest] = members as [ArchiveMember, ArchiveMember, ...ArchiveMember[]]
    expectRefusal(await check([manifest, attestation, ...rest]), 4, "no-attestation")
  })
})

describe("the attestation", () => {
  test("stripped", async () => {
    expectRefusal(await check(members.slice(1)), 4, "no-attestation")
  })
  test("replaced by the unsigned statement", async () => {
    expectRefusal(await verify(await packUnsigned(fixture.state, nodeCompression), fixture.args), 4, "no-attestation")
  })
  test("and the unsigned statement beside it", async () => {
    const both = [...members, { path: "statement.json", bytes: fixture.state.statement }]
    expectRefusal(await check(both), 4, "unexpected-member")
  })
  test("of another valid bundle of the same signer", async () => {
    const other = await buildState({ challenge: "00".repeat(16) })
    const [attestation] = await unpackArchive(await signState(other, fixture.key), nodeCompression)
    expectRefusal(await check(replaced(ATTESTATION, attestation?.bytes ?? "")), 4, "manifest-not-signed")
  })
  test("with another statement under the same signature", async () => {
    const changed = changedJson({ members, statement: Buffer.alloc(0) }, ATTESTATION, ({ dsseEnvelope }) => {
      const statement = Buffer.from(dsseEnvelope.payload, "base64").toString()
      dsseEnvelope.payload = Buffer.from(statement.replace('"pass"', '"fail"')).toString("base64")
    })
    expectRefusal(await check(replaced(ATTESTATION, changed)), 4, "bad-signature")
  })
  test("that is no Sigstore bundle", async () => {
    expectRefusal(await check(replaced(ATTESTATION, '{"mediaType":"x"}')), 4, "malformed-attestation")
    expectRefusal(await check(replaced(ATTESTATION, "")), 4, "malformed-json")
    expectRefusal(await check(replaced(ATTESTATION, "null")), 4, "malformed-attestation")
  })
  test("with a duplicate key", async () => {
    const doubled = text(bytesOf(members, ATTESTATION)).replace('{"mediaType"', '{"mediaType":"x","mediaType"')
    expectRefusal(await check(replaced(ATTESTATION, doubled)), 4, "malformed-json")
  })
  test("over a payload of another type", async () => {
    for (const payloadType of ["application/json", "application/vnd.in-toto+json ", "text/plain"]) {
      const attestation = await signAs(payloadType, fixture.state.statement, fixture.key)
      expectRefusal(await check(replaced(ATTESTATION, attestation)), 4, "wrong-payload-type")
    }
  })
})

describe("a signed statement", () => {
  const cases: readonly [string, string, (statement: LooseJson) => void][] = [
    ["of in-toto 0.1", "wrong-statement-type", s => (s._type = "https://in-toto.io/Statement/v0.1")],
    ["without _type", "wrong-statement-type", s => delete s._type],
    ["of provenance", "wrong-predicate-type", s => (s.predicateType = "https://slsa.dev/provenance/v1")],
    ["of our next major version", "wrong-predicate-type", s => (s.predicateType = "https://envidence.dev/evidence/v2")],
    ["with a longer predicate type", "wrong-predicate-type", s => (s.predicateType += "/x")],
    ["with predicate schemaVersion 2.0", "unsupported-version", s => (s.predicate.schemaVersion = "2.0")],
    ["without schemaVersion", "schema-violation", s => delete s.predicate.schemaVersion],
    ["without criteria", "schema-violation", s => delete s.predicate.criteria],
    ["with a preview that is no outcome", "schema-violation", s => (s.predicate.criteria[0].preview = "warn")],
    ["with an unknown member", "schema-violation", s => (s.more = 1)],
    ["without subjects", "schema-violation", s => (s.subject = [])],
    ["with a subject that also has another digest", "schema-violation", s => (s.subject[0].digest.sha512 = "00")],
    ["of another manifest", "manifest-not-signed", s => (s.predicate.manifest.digest = `sha256:${"0".repeat(64)}`)],
    ["of more files", "manifest-not-signed", s => s.predicate.manifest.files++],
    ["whose subject is another manifest", "manifest-not-signed", s => (s.subject[2].digest.sha256 = "0".repeat(64))],
    ["without the manifest as subject", "manifest-not-signed", s => s.subject.pop()],
    ["with the manifest as subject twice", "manifest-not-signed", s => s.subject.push({ ...s.subject[2] })],
  ]
  test.each(cases)("%s: %s", async (_, code, statement) => {
    const bundle = await signState(rewrite(fixture.state, { statement }), fixture.key)
    expectRefusal(await verify(bundle, fixture.args), 4, code)
  })
  test("with fields of a later minor version is read", async () => {
    const changed = rewrite(fixture.state, {
      predicate: predicate => Object.assign(predicate, { schemaVersion: "1.7", novelty: { any: [1] } }),
    })
    expectVerdict(await verify(await signState(changed, fixture.key), fixture.args), 0)
  })
  const raw: readonly [string, string, (text: string) => string | Buffer][] = [
    ["a duplicate key", "malformed-json", s => s.replace('"predicateType"', '"_type":"x","predicateType"')],
    ["a byte order mark", "malformed-json", s => `\ufeff${s}`],
    ["bytes that are not UTF-8", "malformed-json", s => Buffer.concat([Buffer.from(s), Buffer.of(0xff)])],
    ["something after the end", "malformed-json", s => `${s}{}`],
    ["null in its place", "wrong-statement-type", () => "null"],
    ["a list in its place", "wrong-statement-type", () => "[]"],
  ]
  test.each(raw)("with %s: %s", async (_, code, change) => {
    const statement = Buffer.from(change(text(fixture.state.statement)))
    expectRefusal(await verify(await signState({ ...fixture.state, statement }, fixture.key), fixture.args), 4, code)
  })
})

describe("roles", () => {
  const sign = async (changes: Parameters<typeof rewrite>[1]) =>
    verify(await signState(rewrite(fixture.state, changes), fixture.key), fixture.args)

  test("an unknown critical one is refused", async () => {
    expectRefusal(await sign({ manifest: m => m.critical.push("tpm-quote") }), 4, "unknown-critical-role")
  })
  test("a known critical one is not", async () => {
    expectVerdict(await sign({ manifest: m => m.critical.push("submission") }), 0)
  })
  test("an unknown one is accepted, and named by inspect", async () => {
    const changes = { members: { "extra/quote.bin": "x" }, roles: { "extra/quote.bin": "tpm-quote" } }
    const bundle = await signState(rewrite(fixture.state, changes), fixture.key)
    expectVerdict(await verify(bundle, fixture.args), 0)
    const { stdout } = await runVerify(["inspect", writeTemporary("b.tar.gz", bundle)])
    expect(stdout).toContain("not understood: extra/quote.bin")
  })
  test.each(["submission", "policy", "snapshot", "image-manifest", "image-config", "sbom", "layer-inventory"])(
    "%s is refused at another path",
    async role => {
      const run = await sign({ members: { "zz/other.json": "{}" }, roles: { "zz/other.json": role } })
      expectRefusal(run, 4, "unexpected-member")
    },
  )
  test.each(["submission.json", "policy.json", "snapshot.json", "image/manifest.json", "image/config.json"])(
    "%s must have its own",
    async path => {
      const disown = (manifest: LooseJson) => {
        manifest.members.find((row: { path: string }) => row.path === path).role = "novelty"
      }
      expectRefusal(await sign({ manifest: disown }), 4, "missing-member")
    },
  )
  const observation = (name: string, facts: string) => `{"criterion":"${name}","revision":1,"facts":{"a":${facts}}}`
  test.each<[what: string, count: number, facts: string]>([
    ["one observation of more values than any has", 1, `[${"{},".repeat(limits.observationTokens)}0]`],
    ["one larger than any is", 1, JSON.stringify("x".repeat(limits.observationBytes))],
    ["many that are large together", 5, JSON.stringify("x".repeat(limits.observationBytes - 100))],
  ])("%s, signed by nobody", async (_, count, facts) => {
    const paths = Array.from({ length: count }, (_, i) => `observations/x${i}.json`)
    const state = rewrite(fixture.state, {
      members: Object.fromEntries(paths.map((path, i) => [path, observation(`x${i}`, facts)])),
      roles: Object.fromEntries(paths.map(path => [path, "observation"])),
    })
    const unsigned = [{ path: ATTESTATION, bytes: Buffer.from("{}") }, ...state.members]
    expectRefusal(await check(unsigned), 4, "limit-exceeded")
  })
  test("inventories of more entries than any image has, signed by nobody", async () => {
    const most = 1 + limits.imageEntries / 5
    const paths = Array.from({ length: 5 }, (_, i) => `image/layers/${i}.jsonl`)
    const state = rewrite(fixture.state, {
      members: Object.fromEntries(paths.map(path => [path, "\n".repeat(most)])),
      roles: Object.fromEntries(paths.map(path => [path, "layer-inventory"])),
    })
    const unsigned = [{ path: ATTESTATION, bytes: Buffer.from("{}") }, ...state.members]
    expectRefusal(await check(unsigned), 4, "limit-exceeded")
  })
  test("what an observation of an unknown criterion says is not kept", async () => {
    const path = "observations/x.json"
    const members = { [path]: observation("x", "[1]") }
    const state = rewrite(fixture.state, { members, roles: { [path]: "observation" } })
    const bundle = await readBundle(await packUnsigned(state, nodeCompression), nodeCompression)
    expect(bundle.observations.get("x")).toEqual({ criterion: "x", revision: 1, facts: {} })
  })
  test("observations cannot stand under another criterion's name", async () => {
    const labels = bytesOf(members, "observations/oci-labels.json")
    const path = "observations/runtime-drift.json"
    expectRefusal(await sign({ members: { [path]: labels }, roles: { [path]: "observation" } }), 4, "unexpected-member")
  })
})

describe("manifest.json", () => {
  const cases: readonly [string, string, (manifest: LooseJson) => void][] = [
    ["lists a path twice", "unexpected-member", m => m.members.push({ ...m.members[0] })],
    ["lists itself", "unexpected-member", m => m.members.push({ ...m.members[0], path: "manifest.json" })],
    ["lists the attestation", "unexpected-member", m => m.members.push({ ...m.members[0], path: ATTESTATION })],
    ["lists what is not there", "missing-member", m => m.members.push({ ...m.members[0], path: "zz" })],
    ["gives another size", "digest-mismatch", m => m.members[0].size++],
    ["is in another order", "malformed-archive", m => m.members.reverse()],
    ["has format 2.0", "unsupported-version", m => (m.schemaVersion = "2.0")],
    ["has an unknown member", "schema-violation", m => (m.more = 1)],
    ["lists a path that climbs", "schema-violation", m => (m.members[0].path = "../x")],
    ["has a digest in capitals", "schema-violation", m => (m.members[0].sha256 = "A".repeat(64))],
  ]
  test.each(cases)("%s: %s", async (_, code, manifest) => {
    expectRefusal(
      await verify(await signState(rewrite(fixture.state, { manifest }), fixture.key), fixture.args),
      4,
      code,
    )
  })
})

// The bundle of a signer who writes documents that parsers read differently.
describe("a document", () => {
  const documents = listed.map(({ path }) => path).filter(path => path.endsWith(".json"))
  const image = (path: string, code: string) =>
    path.startsWith("image/") && code === "malformed-json" ? "malformed-image" : code
  const anySubject = [
    ...fixture.args.filter(arg => arg !== "--image-digest" && arg !== fixture.state.imageDigest),
    "--any-subject-unsafe",
  ]
  const sign = async (path: string, change: (text: string) => string | Buffer) => {
    const content = Buffer.from(change(text(bytesOf(members, path))))
    return verify(await signState(consistently(fixture.state, path, content), fixture.key), anySubject)
  }
  const deep = (text: string) => text.replace(/^\{/, `{"deep":${"[".repeat(40)}${"]".repeat(40)},`)
  const rows = documents.flatMap((path): [string, string, (text: string) => string | Buffer][] => [
    [path, "a duplicate key", text => text.replace(/^\{\s*("[^"]+"):/, "{$1:0,$1:")],
    [path, "a byte order mark", text => `\ufeff${text}`],
    [path, "bytes that are not UTF-8", text => Buffer.concat([Buffer.from(text), Buffer.of(0xc0, 0x80)])],
    [path, "nesting of 40", deep],
    [path, "a lone surrogate", text => text.replace(/^\{/, '{"\\ud800":0,')],
    [path, "no end", text => text.slice(0, -1)],
    [path, "nothing in it", () => ""],
  ])
  test.each(rows)("%s with %s", async (path, _, change) => {
    expectRefusal(await sign(path, change), 4, image(path, "malformed-json"))
  })
  const ours = documents.filter(path => !path.startsWith("image/") && path !== "sbom.cdx.json")
  test.each(ours)("%s with an unknown member", async path => {
    expectRefusal(await sign(path, text => text.replace(/^\{/, '{"zz":0,')), 4, "schema-violation")
  })
  test.each(ours)("%s that is a list", async path => {
    expectRefusal(await sign(path, () => "[]"), 4, "schema-violation")
  })
  test.each(["submission.json", "snapshot.json"])("%s of format 2.0", async path => {
    expectRefusal(await sign(path, text => text.replace('"1.0"', '"2.0"')), 4, "unsupported-version")
  })
  test.each([
    ["not JSON", "malformed-json", "x\n"],
    ["an entry that is none", "schema-violation", "{}\n"],
    ["no end", "malformed-json", '{"type":"file"}'],
  ])("an inventory with %s", async (_, code, content) => {
    expectRefusal(await sign("image/layers/1.jsonl", () => content), 4, code)
  })
})

/** One member replaced, and its digest wherever another document names it: nothing disagrees but the content. */
function consistently(state: UnsignedState, path: string, content: Buffer): UnsignedState {
  const was = bytesOf(state.members, path)
  const rename = (document: LooseJson) =>
    Object.assign(document, JSON.parse(JSON.stringify(document).replaceAll(sha256(was), sha256(content))))
  const changed = rewrite(state, { members: { [path]: content }, statement: rename })
  if (path !== "image/config.json") return changed
  const manifest = changedJson(state, "image/manifest.json", document => {
    document.config = { ...document.config, digest: `sha256:${sha256(content)}`, size: content.length }
  })
  return consistently(changed, "image/manifest.json", Buffer.from(manifest))
}
