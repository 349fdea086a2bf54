/** What the page uses of wavesurfer.js 8, for `make check-page`. */
export default class WaveSurfer {
  static create(options: {
    container: HTMLElement;
    media: HTMLMediaElement;
    height: number;
    barWidth: number;
    barGap: number;
    waveColor: string;
    progressColor: string;
    dragToSeek: boolean;
  }): WaveSurfer;
  load(url: string, peaks: number[][], duration: number): Promise<void>;
}
