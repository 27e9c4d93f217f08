"""The store: generations side by side, and a pointer to the one that serves.

    STORE/CURRENT              the id of the one that serves, one line
    STORE/experiments.json     which generations share the users of an experiment
    STORE/generations/<id>/    never changed once it is there
    STORE/.incoming/           being published
    STORE/.outgoing/           being removed

Changes hold STORE/.lock, so whatever a change finds in the two hidden folders is
the leftover of a dead one. Readers take no lock: a generation comes and goes with
one rename, and the pointer changes with another.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from deepmoviematch.data.weights import FORMAT
from deepmoviematch.indexer import disk, experiments, manifest
from deepmoviematch.indexer.errors import GenerationError, StoreError
from deepmoviematch.indexer.experiments import CURRENT, Experiment
from deepmoviematch.indexer.generation import Generation, load

_MOST_BYTES = 100
"""Of CURRENT."""


class Store:
    """A folder of generations, of which one is current."""

    def __init__(self, folder: Path | str) -> None:
        """Take the store in `folder`; the first publish makes it."""
        self.folder = Path(folder)
        self._generations = self.folder / "generations"
        self._pointer = self.folder / "CURRENT"
        self._experiments = self.folder / experiments.FILE
        self._incoming = self.folder / ".incoming"
        self._outgoing = self.folder / ".outgoing"

    def current(self) -> str | None:
        """The id of the generation that serves, or None before the first publish.

        Raises:
            StoreError: If the pointer cannot be read or is no id.
        """
        try:
            name = disk.read_file(self._pointer, most=_MOST_BYTES).decode().rstrip()
            if manifest.sequence_of(name) is None:
                raise ValueError(repr(name[:40]))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{self._pointer} must be readable, got {error}") from error
        except ValueError as error:
            raise StoreError(
                f"{self._pointer} must hold the id of a generation, got {error}; name one: rollback ID"
            ) from error
        return name

    def current_or_refuse(self) -> str:
        """The id of the generation that serves.

        Raises:
            StoreError: As `current`, and if there is none.
        """
        current = self.current()
        if current is None:
            cure = "name one: rollback ID" if self.list() else "build one first"
            raise StoreError(f"{self.folder} must hold a current generation, got none; {cure}")
        return current

    def list(self) -> tuple[str, ...]:
        """The ids of all generations, oldest first, damaged ones too.

        Raises:
            StoreError: If they cannot be read.
        """
        try:
            with os.scandir(self._generations) as entries:
                ids = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise StoreError(f"{self._generations} must be readable, got {error}") from error
        return tuple(sorted((name for name in ids if manifest.sequence_of(name) is not None), key=_age))

    def queries(self, name: str) -> Sequence[dict[str, Any]]:
        """The golden queries of a whole generation."""
        recorded: Any = manifest.read_json(self._generations / name / "golden.json")
        queries: Sequence[dict[str, Any]] = recorded["queries"]
        return queries

    def load(self, name: str | None = None) -> Generation:
        """Load and verify a generation.

        Args:
            name: Its id; None for the current one.

        Raises:
            StoreError: If there is no such generation.
            GenerationError: If it fails a check.
        """
        while name is None:
            current = self.current_or_refuse()
            try:
                return self.load(current)
            except (StoreError, GenerationError):
                if current == self.current():
                    raise  # else it was collected while we read, and another one serves
        if name not in self.list():
            raise StoreError(f"{self.folder} must hold the generation, got {name!r}; it has {self._names()}")
        generation = load(self._generations / name)
        _check_name(self._generations / name, generation.id)
        return generation

    def manifest(self) -> dict[str, Any] | None:
        """What the current generation says of itself, whatever became of its other files.

        Returns:
            Its manifest; None before the first publish.

        Raises:
            StoreError: If the pointer cannot be read or is no id.
            GenerationError: If the manifest cannot be read or was edited.
        """
        if (current := self.current()) is None:
            return None
        folder = self._generations / current
        try:
            values = manifest.read(folder, "generation")
            name = manifest.check_id(values)
        except GenerationError as error:
            raise GenerationError(f"{folder}: {error}") from error
        _check_name(folder, name)
        return values

    def publish(
        self,
        files: Mapping[str, bytes],
        description: Mapping[str, Any],
        *,
        check: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> Generation:
        """Make `files` the current generation; whoever dies on the way leaves the old one current.

        Args:
            files: Path below the generation's folder -> contents.
            description: What its manifest says besides format, kind, id and the files.
            check: Takes the manifest of the generation that would be replaced, if there is one, and raises
                where that must stay; None for none.

        Returns:
            The new generation, loaded and verified.

        Raises:
            GenerationError: If it fails a check; nothing has changed then.
            StoreError: If the disk refuses a step, such as for lack of space, or if `check` is to see a
                manifest that cannot be read.
        """
        with self._changing(create=True):
            if check is not None:
                self._check_against_current(check)
            values = dict(description) | {
                "format": FORMAT,
                "kind": "generation",
                "files": manifest.file_table(files),
            }
            name = values["id"] = manifest.generation_id(self._next_sequence(), values)
            try:
                self._write(files, values)
                generation = load(self._incoming)
                disk.move(self._incoming, self._generations / name)
            except BaseException:
                disk.remove_folder(self._incoming)
                raise
            self._point_to(name)
            return generation

    def rollback(self, to: str | None = None) -> Generation:
        """Make an older generation the current one again, once it has passed every check.

        Args:
            to: Its id; None for the newest of those older than the current one.

        Raises:
            StoreError: If there is no such generation.
            GenerationError: If it fails a check; the current one stays then.
        """
        with self._changing():
            if to is None:
                current = self.current_or_refuse()
                older = [name for name in self.list() if _age(name) < _age(current)]
                if not older:
                    raise StoreError(
                        f"there must be a generation older than {current} to roll back to, got none"
                    )
                to = older[-1]
            generation = self.load(to)
            self._point_to(to)
            return generation

    def gc(self, *, keep: int) -> tuple[str, ...]:
        """Remove all but the newest `keep` whole generations, the current one and those of experiments.

        A damaged generation does not count and is removed, unless an experiment names it.

        Returns:
            The ids removed, oldest first.

        Raises:
            StoreError: If `keep` is below 1, the experiments cannot be read or the disk refuses a step.
        """
        if keep < 1:
            raise StoreError(f"gc must keep at least 1 generation, got {keep}")
        with self._changing():
            current = self.current()
            whole = islice(filter(self._is_whole, reversed(self.list())), keep)
            named = [experiment.generations for experiment in self.experiments().values()]
            kept = {current, *whole}.union(*named)
            surplus = tuple(name for name in self.list() if name not in kept)
            for name in surplus:
                disk.move(self._generations / name, self._outgoing)
                disk.remove_folder(self._outgoing)
            return surplus

    def experiments(self) -> dict[str, Experiment]:
        """The experiments that run, by name.

        Raises:
            StoreError: If the file that names them is damaged.
        """
        return experiments.read(self._experiments)

    def begin_experiment(self, experiment: Experiment) -> None:
        """Let `experiment` run, in place of any other of its name.

        Raises:
            StoreError: If it breaks a rule, names a generation that is not there, or such as take ratings of
                different scales, so that the same request would not mean the same to each.
            GenerationError: If one that it names fails a check.
        """
        experiment.check()
        with self._changing():
            names = {variant.generation for variant in experiment.variants}
            experiments.check_scales([self.load(None if name == CURRENT else name).scale for name in names])
            running = self.experiments() | {experiment.name: experiment}
            experiments.check_number(running)
            self._set_experiments(running)

    def end_experiment(self, name: str) -> None:
        """Let an experiment run no more: all its users get the current generation.

        Raises:
            StoreError: If there is none of that name.
        """
        with self._changing():
            running = self.experiments()
            if name not in running:
                raise StoreError(
                    f"to end an experiment it must run, got {name!r}; running: {', '.join(running) or 'none'}"
                )
            del running[name]
            self._set_experiments(running)

    def check_there(self) -> None:
        """Refuse a folder that is no store.

        Raises:
            StoreError: If nothing was published to it yet.
        """
        if not self._generations.is_dir():
            raise StoreError(f"{self.folder} must be a store, got none; build a generation first")

    def _set_experiments(self, running: Mapping[str, Experiment]) -> None:
        disk.replace_file(self._experiments, experiments.to_bytes(running))

    @contextmanager
    def _changing(self, *, create: bool = False) -> Iterator[None]:
        """Hold the store's lock, with the leftovers of dead changes cleaned away."""
        try:
            if create:
                disk.make_folder(self._generations)
            else:
                self.check_there()
            with disk.locked(self.folder / ".lock"):
                disk.remove_folder(self._incoming)
                disk.remove_folder(self._outgoing)
                yield
        except OSError as error:
            raise StoreError(f"{self.folder} must be writable and have room, got {error}") from error

    def _check_against_current(self, check: Callable[[Mapping[str, Any]], None]) -> None:
        try:
            replaced = self.manifest()
        except (GenerationError, StoreError) as error:
            raise StoreError(
                f"the generation to be replaced must say how good it is, got this: {error}; "
                "make another one current with rollback ID, or publish all the same with --force"
            ) from error
        if replaced is not None:
            check(replaced)

    def _write(self, files: Mapping[str, bytes], values: Mapping[str, Any]) -> None:
        """Write the generation into the incoming folder, manifest last."""
        for name, contents in files.items():
            path = self._incoming / name
            disk.make_folder(path.parent)
            disk.write_file(path, contents)
        for folder in {(self._incoming / name).parent for name in files}:
            disk.sync_folder(folder)
        disk.write_file(self._incoming / manifest.MANIFEST, manifest.to_json(values))
        disk.sync_folder(self._incoming)

    def _point_to(self, name: str) -> None:
        disk.replace_file(self._pointer, f"{name}\n".encode())

    def _next_sequence(self) -> int:
        """One more than any generation has that is there, or current."""
        try:
            current = self.current()
        except StoreError:  # a broken pointer is about to be replaced
            current = None
        return 1 + max(map(_age, (*self.list(), *([current] if current else []))), default=0)

    def _is_whole(self, name: str) -> bool:
        try:
            self.load(name)
        except GenerationError:
            return False
        return True

    def _names(self) -> str:
        return ", ".join(self.list()) or "none"


def _check_name(folder: Path, name: str) -> None:
    if folder.name != name:
        raise GenerationError(f"{folder}: the folder must be named by the id, got {name}")


def _age(name: str) -> int:
    """The number in an id: the newer, the larger."""
    return manifest.sequence_of(name) or 0
