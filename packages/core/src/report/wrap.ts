const WIDTH = 80

/**
 * `label` in a column of its own, and `text` beside it, broken at spaces to `width` columns. A word that fits no line
 * beside the column (a digest) gets a line of its own, so that it can be copied; one that fits no line is broken.
 */
export function wrapBeside(label: string, text: string, column: number, width = WIDTH): string[] {
  const lines: string[] = []
  let line = label.length < column ? label.padEnd(column) : `${label}  `
  let hasWord = false
  const startLine = (indent: number) => {
    if (hasWord) lines.push(line)
    line = hasWord ? " ".repeat(indent) : line
    hasWord = false
  }
  let wasLong = false
  for (const word of text.split(" ").flatMap(part => breakWord(part, width - HANGING))) {
    const isLong = word.length > width - column
    if (isLong && !hasWord) {
      lines.push(line)
      line = " ".repeat(HANGING)
    } else if (isLong) startLine(HANGING)
    else if (wasLong || (hasWord && line.length + 1 + word.length > width)) startLine(column)
    line += hasWord ? ` ${word}` : word
    hasWord = true
    wasLong = isLong
  }
  return [...lines, line].map(each => each.trimEnd())
}

const HANGING = 4

function breakWord(word: string, width: number): string[] {
  if (word.length <= width) return [word]
  // Not between the halves of a surrogate pair.
  const end = /[\ud800-\udbff]/.test(word[width - 1] ?? "") ? width - 1 : width
  return [word.slice(0, end), ...breakWord(word.slice(end), width)]
}
