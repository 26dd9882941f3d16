const WIDTH = 80

/**
 * `label` in a column of its own, and `text` beside it, broken at spaces to `width` columns. A word that is longer than
 * a line (a digest, a path) is broken where the line ends.
 */
export function wrapBeside(label: string, text: string, column: number, width = WIDTH): string[] {
  const lines: string[] = []
  let line = label.length < column ? label.padEnd(column) : `${label}  `
  let hasWord = false
  for (const word of text.split(" ").flatMap(part => breakWord(part, width - column))) {
    if (hasWord && line.length + 1 + word.length > width) {
      lines.push(line)
      line = " ".repeat(column)
      hasWord = false
    }
    line += hasWord ? ` ${word}` : word
    hasWord = true
  }
  return [...lines, line].map(each => each.trimEnd())
}

function breakWord(word: string, width: number): string[] {
  if (word.length <= width) return [word]
  // Not between the halves of a surrogate pair.
  const end = /[\ud800-\udbff]/.test(word[width - 1] ?? "") ? width - 1 : width
  return [word.slice(0, end), ...breakWord(word.slice(end), width)]
}
