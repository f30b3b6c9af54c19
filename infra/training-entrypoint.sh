#!/bin/sh
# Lays the image's code into the project's volume if another image's lies there, then becomes the command.
# Data, registry, dvc.lock, and params.yaml and .dvc/config as a person left them, stay.
set -eu
project=${TIDELINE_PROJECT:-/srv/tideline} code=${TIDELINE_CODE:-/opt/tideline}
cd "$project"
mkdir -p .tideline .dvc
(
  flock 9 # several containers share the volume
  if ! cmp -s "$code/.image" .tideline/image; then
    for name in src serving pipelines; do
      rm -rf ".$name.new"
      cp -R "$code/$name" ".$name.new"
      rm -rf "$name"
      mv ".$name.new" "$name"
    done
    for name in dvc.yaml pyproject.toml README.md .dvcignore .dvc/config.local; do cp "$code/$name" "$name"; done
    for name in params.yaml .dvc/config; do [ -e "$name" ] || cp "$code/$name" "$name"; done
    cp "$code/.image" .tideline/image # last: a copy that was broken off is made again
  fi
) 9> .tideline/image.lock
exec "$@"
