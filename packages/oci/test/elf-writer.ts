// A small ELF writer for tests: what lies where in the file is up to the test.
import { Buffer } from "node:buffer"

export interface Section {
  readonly name: string
  readonly content: Buffer
  /** In no segment where absent: what linkers do with debugging information. */
  readonly segment?: "read-only" | "writable" | "code"
  /** SHT_NOBITS where 8. */
  readonly type?: number
}

export interface ElfOptions {
  readonly wide?: boolean
  readonly bigEndian?: boolean
  /** ET_EXEC, ET_DYN (default) or what the test wants. */
  readonly type?: number
  readonly withoutSectionTable?: boolean
  readonly withoutProgramHeaders?: boolean
}

const FLAGS = { "read-only": 4, writable: 6, code: 5 } as const

/** One segment a section, in order, then the names, then the table of sections, as linkers lay them out. */
export function elf(sections: readonly Section[], options: ElfOptions = {}): Buffer {
  const { wide = true, bigEndian = false } = options
  const sizes = wide ? { head: 64, program: 56, section: 64 } : { head: 52, program: 32, section: 40 }
  const loaded = options.withoutProgramHeaders ? [] : sections.filter(({ segment }) => segment !== undefined)
  const put = (into: Buffer, at: number, value: number, bytes: number) => {
    if (bytes === 8) into[bigEndian ? "writeBigUInt64BE" : "writeBigUInt64LE"](BigInt(value), at)
    else into[bigEndian ? "writeUIntBE" : "writeUIntLE"](value, at, bytes)
  }
  const word = wide ? 8 : 4
  const parts: Buffer[] = []
  let offset = Math.ceil((sizes.head + loaded.length * sizes.program) / 16) * 16
  const place = (content: Buffer) => {
    const padded = Buffer.concat([content, Buffer.alloc((16 - (content.length % 16)) % 16)])
    parts.push(padded)
    offset += padded.length
    return offset - padded.length
  }
  const offsets = sections.map(({ content }) => place(content))
  const all = [{ name: "", content: Buffer.alloc(0) }, ...sections, { name: ".shstrtab", content: Buffer.alloc(0) }]
  const names = Buffer.from(all.map(({ name }) => `${name}\0`).join(""))
  const namesAt = place(names)
  const tableAt = offset
  const table = all.map(({ name, content, type = 1 }: Section, i) => {
    const header = Buffer.alloc(sizes.section)
    put(
      header,
      0,
      all.slice(0, i).reduce((sum, other) => sum + other.name.length + 1, 0),
      4,
    )
    put(header, 4, i === 0 ? 0 : type, 4)
    const last = i === all.length - 1
    put(header, wide ? 24 : 16, last ? namesAt : (offsets[i - 1] ?? 0), word)
    put(header, wide ? 32 : 20, last ? names.length : content.length, word)
    if (name === "") header.fill(0)
    return header
  })
  const head = Buffer.alloc(Math.ceil((sizes.head + loaded.length * sizes.program) / 16) * 16)
  head.write("\x7fELF", "latin1")
  head[4] = wide ? 2 : 1
  head[5] = bigEndian ? 2 : 1
  put(head, 16, options.type ?? 3, 2)
  const counts = wide ? 54 : 42
  put(head, wide ? 32 : 28, loaded.length === 0 ? 0 : sizes.head, word)
  put(head, counts, sizes.program, 2)
  put(head, counts + 2, loaded.length, 2)
  if (!options.withoutSectionTable) {
    put(head, wide ? 40 : 32, tableAt, word)
    put(head, counts + 4, sizes.section, 2)
    put(head, counts + 6, all.length, 2)
    put(head, counts + 8, all.length - 1, 2)
  }
  for (const [i, section] of loaded.entries()) {
    const at = sizes.head + i * sizes.program
    put(head, at, 1, 4)
    put(head, at + (wide ? 4 : 24), FLAGS[section.segment ?? "code"], 4)
    put(head, at + (wide ? 8 : 4), offsets[sections.indexOf(section)] ?? 0, word)
    put(head, at + (wide ? 32 : 16), section.content.length, word)
  }
  return Buffer.concat([head, ...parts, ...(options.withoutSectionTable ? [] : table)])
}

/** As Go's linker writes it since Go 1.18. */
export function goBuildInfo(version: string, modules: string, flags = 2): Buffer {
  const header = Buffer.alloc(32)
  header.write("\xff Go buildinf:", "latin1")
  header[14] = 8
  header[15] = flags
  const mark = Buffer.alloc(16, 0x30)
  const marked = modules === "" ? Buffer.alloc(0) : Buffer.concat([mark, Buffer.from(modules), mark])
  return Buffer.concat([header, prefixed(Buffer.from(version)), prefixed(marked)])
}

function prefixed(bytes: Buffer): Buffer {
  const length: number[] = []
  for (let left = bytes.length; ; left = Math.floor(left / 128)) {
    length.push(left < 128 ? left : (left % 128) + 128)
    if (left < 128) break
  }
  return Buffer.concat([Buffer.from(length), bytes])
}
