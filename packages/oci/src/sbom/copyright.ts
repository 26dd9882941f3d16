const FORMAT = /^Format(?:-Specification)?:\s*https?:\/\/\S*(?:copyright-format\/1|dep5)/i
const LICENSE = /^License:[ \t]*(\S.*)$/gim
const LICENSES = 64

/**
 * The short names of licences in a Debian copyright file, each once, in order (machine-readable format 1.0). Empty for
 * the older files of free text, which name none exactly.
 */
export function parseCopyright(text: string): string[] {
  if (!FORMAT.test(text)) return []
  return [...new Set(Array.from(text.matchAll(LICENSE), ([, name]) => name?.trim() ?? ""))].slice(0, LICENSES)
}
