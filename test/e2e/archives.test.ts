// Archives that are not, byte for byte, what SPEC.md allows: exit code 4, before any signature is looked at.
import type { ArchiveMember } from "@envidence/core"
import { unpackArchive } from "@envidence/core"
import { nodeCompression } from "@envidence/oci"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { archive, endOfArchive, entry, header, padded, pax, withChecksum } from "../../packages/oci/test/tar-writer.ts"
import { expectRefusal, expectVerdict } from "../bundles/expectations.ts"
import { type Fixture, newFixture } from "../bundles/fixture.ts"
import { gzipHeader, rawEntry, rawGzip, rawTar } from "../bundles/raw-archive.ts"
import { removeFolders } from "../bundles/state.ts"
import { verify } from "../bundles/verifying.ts"

let fixture: Fixture
let members: readonly ArchiveMember[]

beforeAll(async () => {
  fixture = await newFixture()
  members = await unpackArchive(fixture.bundle, nodeCompression)
})
afterAll(removeFolders)

const check = (bytes: Uint8Array) => verify(bytes, fixture.args)

test("the test's own writer makes what the reader takes", async () => {
  expectVerdict(await check(rawGzip(rawTar(members))), 0)
})

// A member more, before the end; all that the signed manifest lists is there.
const withEntry = (...entries: Buffer[]) => rawGzip(archive(...members.map(rawEntry), ...entries))
const replaceFirst = (change: (first: ArchiveMember) => Buffer) => {
  const [first, ...rest] = members as [ArchiveMember, ...ArchiveMember[]]
  return rawGzip(archive(change(first), ...rest.map(rawEntry)))
}
const withHeader = (patch: (header: Buffer) => void) =>
  replaceFirst(({ path, bytes }) => entry(path, { content: Buffer.from(bytes), patch }))

describe("tar", () => {
  const cases: readonly [string, () => Buffer, code?: string][] = [
    ["the same member twice", () => withEntry(rawEntry(members.at(-1) as ArchiveMember))],
    ["a symbolic link", () => withEntry(entry("zz", { type: "2", linkName: "/etc/passwd" }))],
    ["a hard link", () => withEntry(entry("zz", { type: "1", linkName: "manifest.json" }))],
    ["a folder", () => withEntry(entry("zz", { type: "5" }))],
    ["a device", () => withEntry(entry("zz", { type: "3", device: [1, 3] }))],
    ["an old regular file, type NUL", () => withEntry(entry("zz", { type: "\0" }))],
    ["a contiguous file, type 7", () => withEntry(entry("zz", { type: "7" }))],
    ["a pax header before a member", () => withEntry(entry("zz", { pax: { path: "../../etc/cron.d/x" } }))],
    ["a global pax header", () => rawGzip(archive(pax({ comment: "x" }, "g"), ...members.map(rawEntry)))],
    ["a GNU long name", () => withEntry(entry("././@LongLink", { type: "L", magic: "gnu", content: "a\0" }))],
    ["a path that climbs", () => withEntry(entry("../zz", { content: "x" }))],
    ["a path that climbs in the middle", () => withEntry(entry("logs/../../zz", { content: "x" }))],
    ["an absolute path", () => withEntry(entry("/etc/zz", { content: "x" }))],
    ["a dot file", () => withEntry(entry(".bashrc", { content: "x" }))],
    ["a name with a backslash", () => withEntry(entry("zz\\x", { content: "x" }))],
    ["a name that is not ASCII", () => withEntry(entry("zzé", { content: "x" }))],
    ["an empty name", () => withEntry(entry("", { content: "x" }))],
    ["a name split between name and prefix", () => withEntry(entry("zz", { prefix: "logs", content: "x" }))],
    ["a size that is larger than what follows", () => withEntry(header("zz", { size: 0o77777777777 }))],
    ["a size in base-256", () => withEntry(entry("zz", { patch: block => block.writeUInt8(0x80, 124) }))],
    ["a size that is not octal", () => withEntry(entry("zz", { patch: block => block.write("0000000000z", 124) }))],
    ["an executable mode", () => withEntry(entry("zz", { mode: 0o755, content: "x" }))],
    ["an owner", () => withEntry(entry("zz", { uid: 1, content: "x" }))],
    ["an owner's name", () => withEntry(entry("zz", { userName: "root", content: "x" }))],
    ["a time", () => withEntry(entry("zz", { mtime: 1, content: "x" }))],
    ["GNU's magic", () => withHeader(block => void block.write("ustar  \0", 257, "latin1"))],
    ["a link name in a regular file's header", () => withHeader(block => void block.write("x", 157))],
    ["bytes after the header's end", () => withHeader(block => void block.write("x", 511))],
    ["bytes after the name's NUL", () => withHeader(block => void block.write("x", 99))],
    ["a wrong checksum", () => replaceFirst(first => Buffer.from(rawEntry(first)).fill("7", 148, 150))],
    [
      "padding that is not zero",
      () =>
        replaceFirst(({ path, bytes }) => {
          const whole = padded(Buffer.concat([Buffer.from(bytes), Buffer.from("x")]))
          return Buffer.concat([header(path, { size: bytes.length }), whole])
        }),
    ],
    ["one block at the end", () => rawGzip(Buffer.concat([...members.map(rawEntry), Buffer.alloc(512)]))],
    ["three blocks at the end", () => rawGzip(Buffer.concat([rawTar(members), Buffer.alloc(512)]))],
    ["a record of ten kilobytes", () => rawGzip(Buffer.concat([rawTar(members), Buffer.alloc(10_240)]))],
    ["a second archive after the end", () => rawGzip(Buffer.concat([rawTar(members), rawTar(members)]))],
    ["no end", () => rawGzip(Buffer.concat(members.map(rawEntry)))],
    ["a cut in a member", () => rawGzip(rawTar(members).subarray(0, 700))],
    ["nothing at all", () => rawGzip(endOfArchive), "no-attestation"],
    ["members in another order", () => rawGzip(rawTar([...members.slice(0, 2), ...members.slice(2).toReversed()]))],
    [
      "5,000 members",
      () => withEntry(...Array.from({ length: 5000 }, (_, i) => entry(`logs/${i}.log`))),
      "limit-exceeded",
    ],
  ]
  test.each(cases)("%s", async (_, make, code = "malformed-archive") => {
    expectRefusal(await check(make()), 4, code)
  })

  test("a repaired checksum does not help an altered header", async () => {
    const altered = replaceFirst(first => {
      const bytes = rawEntry(first)
      bytes.write("0000755", 100)
      withChecksum(bytes.subarray(0, 512))
      return bytes
    })
    expectRefusal(await check(altered), 4, "malformed-archive")
  })
})

describe("gzip", () => {
  const tar = () => rawTar(members)
  const changedHeader = (change: (header: Buffer) => void, extra = Buffer.alloc(0)) => {
    const first = gzipHeader()
    change(first)
    return rawGzip(tar(), { header: Buffer.concat([first, extra]) })
  }
  const cases: readonly [string, () => Uint8Array, code?: string][] = [
    ["no bytes", () => Buffer.alloc(0)],
    ["other bytes", () => Buffer.from("PK\x03\x04 this is not a bundle at all")],
    ["the tar without gzip", tar],
    ["a file name in the header", () => changedHeader(first => first.writeUInt8(8, 3), Buffer.from("x.tar\0"))],
    ["an extra field", () => changedHeader(first => first.writeUInt8(4, 3), Buffer.from([2, 0, 1, 1]))],
    ["a comment", () => changedHeader(first => first.writeUInt8(16, 3), Buffer.from("hello\0"))],
    ["the text flag", () => changedHeader(first => first.writeUInt8(1, 3))],
    ["a time", () => changedHeader(first => first.writeUInt32LE(1_700_000_000, 4))],
    ["another system", () => changedHeader(first => first.writeUInt8(3, 9))],
    ["bytes after the end", () => Buffer.concat([fixture.bundle, Buffer.from("\n")])],
    ["zeros after the end", () => Buffer.concat([fixture.bundle, Buffer.alloc(512)])],
    ["a second gzip member", () => Buffer.concat([fixture.bundle, rawGzip(Buffer.from("more"))])],
    ["an empty second gzip member", () => Buffer.concat([fixture.bundle, rawGzip(Buffer.alloc(0))])],
    ["a wrong checksum", () => rawGzip(tar(), { crc: 1 })],
    ["a wrong length", () => rawGzip(tar(), { size: 1 })],
    ["a length beyond the limit", () => rawGzip(tar(), { size: 0xffffffff }), "limit-exceeded"],
    ["a cut in the data", () => Buffer.concat([fixture.bundle.subarray(0, -108), fixture.bundle.subarray(-8)])],
    ["its first bytes alone", () => fixture.bundle.subarray(0, 12)],
    ["a bomb that gives its size", () => rawGzip(Buffer.alloc(300_000_000), { level: 1 }), "limit-exceeded"],
    ["a bomb that lies about its size", () => rawGzip(Buffer.alloc(300_000_000), { level: 1, size: 1024 })],
  ]
  test.each(cases)("%s", async (_, make, code = "malformed-archive") => {
    expectRefusal(await check(make()), 4, code)
  })

  test("more bytes than a bundle may have are not read", async () => {
    // Standard input is bounded before it is a bundle, so there is nothing to report about.
    const run = await verify(Buffer.alloc(25_000_001), fixture.args)
    expect([run.exitCode, run.code]).toEqual([4, "limit-exceeded"])
  })
})
