import {
  type ArchiveMember,
  EvidenceError,
  limits,
  packArchive,
  parseInventory,
  serializeInventory,
  unpackArchive,
  webCompression,
} from "@envidence/core"
import { nodeCompression } from "@envidence/oci"
import fc from "fast-check"
import { describe, expect, test } from "vitest"

const name = fc
  .array(
    fc.string({ unit: fc.constantFrom(..."abzAZ09._-"), minLength: 1, maxLength: 12 }).map(text => `a${text}`),
    {
      minLength: 1,
      maxLength: 6,
    },
  )
  .map(components => components.join("/"))
const members = fc
  .uniqueArray(fc.record({ path: name, bytes: fc.uint8Array({ maxLength: 2000 }) }), {
    selector: ({ path }) => path,
    maxLength: 8,
  })
  .map(list => list.map(({ path, bytes }): ArchiveMember => ({ path, bytes })))

const plain = (list: readonly ArchiveMember[]) =>
  list.map(({ path, bytes }) => [path, Buffer.from(bytes).toString("hex")])

const codeOf = async (promise: Promise<unknown>): Promise<string> => {
  try {
    await promise
  } catch (error) {
    if (error instanceof EvidenceError) return error.code
    throw error
  }
  return "accepted"
}

describe.each([
  ["Node's zlib", nodeCompression],
  ["the web's streams", webCompression],
])("an archive by %s", (_, compression) => {
  test("holds what was packed, in that order, and packs to the same bytes again", async () => {
    await fc.assert(
      fc.asyncProperty(members, async list => {
        const packed = await packArchive(list, compression)
        const found = await unpackArchive(packed, compression)
        expect(plain(found)).toEqual(plain(list))
        expect(Buffer.compare(await packArchive(found, compression), packed)).toBe(0)
      }),
      { numRuns: 50 },
    )
  })
  test("with any one bit flipped is refused or holds the same", async () => {
    const list = [
      { path: "statement.json", bytes: Buffer.from('{"a":1}') },
      { path: "logs/a.log", bytes: Buffer.from("hello ".repeat(200)) },
    ]
    const packed = await packArchive(list, compression)
    for (let bit = 0; bit < packed.length * 8; bit++) {
      const flipped = Uint8Array.from(packed)
      flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7))
      const found = await unpackArchive(flipped, compression).catch((error: EvidenceError) => error)
      if (found instanceof Error)
        expect(["malformed-archive", "limit-exceeded"]).toContain((found as EvidenceError).code)
      else expect(plain(found)).toEqual(plain(list))
    }
  })
  test("cut anywhere, or with bytes after it, is refused", async () => {
    const packed = await packArchive([{ path: "a", bytes: Buffer.from("x".repeat(600)) }], compression)
    for (let length = 0; length < packed.length; length++)
      expect(await codeOf(unpackArchive(packed.subarray(0, length), compression))).not.toBe("accepted")
    expect(await codeOf(unpackArchive(Buffer.concat([packed, Buffer.of(0)]), compression))).toBe("malformed-archive")
  })
  test("of arbitrary bytes is refused, and nothing else happens", async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 400 }), async bytes => {
        expect(["malformed-archive", "limit-exceeded"]).toContain(await codeOf(unpackArchive(bytes, compression)))
      }),
    )
  })
})

describe("packing", () => {
  const pack = (...paths: string[]) =>
    codeOf(
      packArchive(
        paths.map(path => ({ path, bytes: new Uint8Array() })),
        nodeCompression,
      ),
    )

  test.each(["", "/a", "../a", "a/../b", ".a", "a//b", "a/", "a\\b", "a b", "é", "a".repeat(101), "a/b/c/d/e/f/g/h/i"])(
    "refuses the name %j",
    async path => {
      expect(await pack(path)).toBe("malformed-archive")
    },
  )
  // What a reader would refuse must not be written, or an expensive run ends in a bundle that nobody takes.
  test("refuses more members, and larger ones, than a reader takes", async () => {
    expect(await pack("a", "a")).toBe("malformed-archive")
    expect(await pack(...Array.from({ length: limits.members + 1 }, (_, i) => `a/${i}`))).toBe("limit-exceeded")
    const noise = { path: "noise", bytes: crypto.getRandomValues(new Uint8Array(65_536)) }
    const copies = Array.from({ length: 400 }, (_, i) => ({ path: `n${i}`, bytes: shuffled(noise.bytes, i) }))
    expect(await codeOf(packArchive(copies, nodeCompression))).toBe("limit-exceeded")
  })
})

// Noise that no two copies share, so that nothing of it can be packed.
const shuffled = (bytes: Uint8Array, seed: number): Uint8Array => {
  let state = seed + 1
  return bytes.map(byte => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return byte ^ (state >>> 24)
  })
}

describe("an inventory", () => {
  const count = fc.integer({ min: 0, max: 2 ** 40 })
  const text = fc
    .string({ unit: "grapheme", minLength: 1, maxLength: 40 })
    .filter(candidate => candidate.isWellFormed())
  const common = fc.record({
    path: text,
    mode: fc.integer({ min: 0, max: 0o7777 }),
    uid: count,
    gid: count,
    mtime: fc.integer({ min: -1000, max: 2 ** 33 }),
  })
  const entry = fc.oneof(
    fc.record({ common, size: count }).map(({ common, size }) => ({
      ...common,
      type: "file" as const,
      size,
      sha256: "ab".repeat(32),
      content: "text" as const,
    })),
    common.map(fields => ({ ...fields, type: "directory" as const, size: 0 })),
    fc
      .record({ common, linkTarget: text })
      .map(({ common, linkTarget }) => ({ ...common, type: "symlink" as const, size: 0, linkTarget })),
  )
  test("reads back as it was written", () => {
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 20 }), entries => {
        const bytes = serializeInventory(entries)
        const found = parseInventory(bytes, "it")
        expect(found).toEqual(entries)
        expect(Buffer.compare(serializeInventory(found), bytes)).toBe(0)
      }),
    )
  })
  test.each([
    ["another order of members", '{"type":"directory","size":0,"path":"a","mode":0,"mtime":0,"uid":0,"gid":0}\n'],
    ["spaces", '{"gid": 0,"mode":0,"mtime":0,"path":"a","size":0,"type":"directory","uid":0}\n'],
    ["text in base64", '{"gid":0,"mode":0,"mtime":0,"pathBase64":"YQ==","size":0,"type":"directory","uid":0}\n'],
    ["two names", '{"gid":0,"mode":0,"mtime":0,"path":"a","pathBase64":"/w==","size":0,"type":"directory","uid":0}\n'],
    ["no name", '{"gid":0,"mode":0,"mtime":0,"size":0,"type":"directory","uid":0}\n'],
    ["a folder with a size", '{"gid":0,"mode":0,"mtime":0,"path":"a","size":1,"type":"directory","uid":0}\n'],
    ["a link without a target", '{"gid":0,"mode":0,"mtime":0,"path":"a","size":0,"type":"symlink","uid":0}\n'],
    ["a file without a digest", '{"gid":0,"mode":0,"mtime":0,"path":"a","size":0,"type":"file","uid":0}\n'],
  ])("is refused with %s", (_, line) => {
    expect(() => parseInventory(Buffer.from(line), "it")).toThrow(expect.objectContaining({ code: "schema-violation" }))
  })
  test.each([
    ["an empty line", "\n"],
    ["no end of line", "{}"],
    ["a carriage return", "{}\r"],
  ])("is refused with %s", (_, text) => {
    expect(() => parseInventory(Buffer.from(text), "it")).toThrow(EvidenceError)
  })
})
