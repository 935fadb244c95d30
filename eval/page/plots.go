package page

import (
	"bytes"
	"fmt"
	"html/template"
	"image/color"
	"regexp"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/font/liberation"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"cubby/eval"
)

// Sizes of plots.
const (
	width  = 5 * vg.Inch
	height = 3.2 * vg.Inch
	margin = 4 * vg.Millimeter
)

// Colours of plots stand for those of the page, which has a light and a dark set: each
// is replaced by the style's variable of that name.
var (
	ink    = color.RGBA{R: 1, G: 2, B: 3, A: 255}
	accent = color.RGBA{R: 4, G: 5, B: 6, A: 255}
	faint  = color.RGBA{R: 7, G: 8, B: 9, A: 255}
)

var themed = strings.NewReplacer("font-family:Liberation Sans", "font-family:inherit", "#010203", "var(--ink)", "#040506", "var(--accent)", "#070809", "var(--faint)")

func init() {
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
	plotter.DefaultFont = plot.DefaultFont
	font.DefaultCache.Add(liberation.Collection())
}

// newPlot is a plot of shares.
func newPlot(x, y string) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = color.Transparent
	p.X.Label.Text, p.Y.Label.Text = x, y
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = 0, 1, 0, 1
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Color, a.Label.TextStyle.Color, a.Tick.Color, a.Tick.Label.Color = ink, ink, ink, ink
	}
	return p
}

// prelude is what an SVG file has before its root.
var prelude = regexp.MustCompile(`(?s)^.*?(<svg)`)

// inline draws a plot as SVG for the middle of a page. The plot is made of numbers and
// of the labels of its axes, which are this package's own.
func inline(p *plot.Plot, title string) (template.HTML, error) {
	c := vgsvg.New(width, height)
	p.Draw(draw.Crop(draw.New(c), 0, -margin, 0, -margin)) // half of the last tick's label
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		return "", err
	}
	svg := prelude.ReplaceAllString(b.String(), "$1")
	svg = strings.Replace(svg, "<svg", fmt.Sprintf(`<svg role="img" aria-label="%s"`, title), 1)
	return template.HTML(themed.Replace(svg)), nil
}

func line(points plotter.XYs, c color.Color, dashed bool) (*plotter.Line, error) {
	l, err := plotter.NewLine(points)
	if err != nil {
		return nil, err
	}
	l.Color, l.Width = c, vg.Points(1.5)
	if dashed {
		l.Dashes = []vg.Length{vg.Points(4), vg.Points(4)}
	}
	return l, nil
}

// reliability draws the bins' accuracies with their intervals over their confidences.
func reliability(c *eval.Calibration) (template.HTML, error) {
	p := newPlot("confidence", "accuracy")
	ideal, err := line(plotter.XYs{{X: 0, Y: 0}, {X: 1, Y: 1}}, faint, true)
	if err != nil {
		return "", err
	}
	p.Add(ideal)
	var points plotter.XYs
	for _, b := range c.Bins {
		points = append(points, plotter.XY{X: b.Confidence, Y: b.Accuracy})
		whisker, err := line(plotter.XYs{{X: b.Confidence, Y: b.AccuracyInterval[0]}, {X: b.Confidence, Y: b.AccuracyInterval[1]}}, accent, false)
		if err != nil {
			return "", err
		}
		whisker.Width = vg.Points(0.75)
		p.Add(whisker)
	}
	dots, err := plotter.NewScatter(points)
	if err != nil {
		return "", err
	}
	dots.Shape, dots.Color, dots.Radius = draw.CircleGlyph{}, accent, vg.Points(3)
	p.Add(dots)
	return inline(p, "accuracy by confidence")
}

// riskCoverage draws the risk that is left over what is answered.
func riskCoverage(c *eval.Coverage) (template.HTML, error) {
	p := newPlot("coverage", "risk")
	points, top := make(plotter.XYs, len(c.Curve)), 0.0
	for i, q := range c.Curve {
		points[i] = plotter.XY{X: q.Coverage, Y: q.Risk}
		top = max(top, q.Risk)
	}
	l, err := line(points, accent, false)
	if err != nil {
		return "", err
	}
	l.StepStyle = plotter.PostStep
	p.Add(l)
	p.Y.Max = max(0.01, 1.1*top)
	return inline(p, "risk by coverage")
}
